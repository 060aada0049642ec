using System.Text.Json;
using BlockMount.Core.Errors;

namespace BlockMount.Host.Cli;

/// <summary>What the file of <c>serve --config</c> says; null where it says nothing.</summary>
internal sealed record ServeConfig
{
    private const int LargestFile = 1 << 20;

    public IReadOnlyList<ConfigExport> Exports { get; init; } = [];

    public string? Socket { get; init; }

    public string? SocketMode { get; init; }

    public string? SocketOwner { get; init; }

    public IReadOnlyList<string>? AllowUid { get; init; }

    public string? Tcp { get; init; }

    public int? MaxConnections { get; init; }

    public string? Discard { get; init; }

    public bool? AllocationDepth { get; init; }

    /// <summary>The name of a setting in which a later reading differs and that cannot change while clients are served; null for none.</summary>
    public string? FixedSettingChangedIn(ServeConfig later) =>
        Socket != later.Socket ? "socket"
        : SocketMode != later.SocketMode ? "socket_mode"
        : SocketOwner != later.SocketOwner ? "socket_owner"
        : !(AllowUid ?? []).SequenceEqual(later.AllowUid ?? [], StringComparer.Ordinal) ? "allow_uid"
        : Tcp != later.Tcp ? "tcp"
        : MaxConnections != later.MaxConnections ? "max_connections"
        : null;

    /// <summary>Reads and checks a file.</summary>
    /// <exception cref="DiskException">It is unreadable, too large, no JSON, or a value is not what it may be; the sentence names it.</exception>
    public static async Task<ServeConfig> ReadAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            // A named pipe that nobody writes to holds up whoever opens it; that must not be the one who waits for Ctrl+C.
            using var document = JsonDocument.Parse(await Task.Run(() => BytesAsync(path, cancellationToken), cancellationToken).WaitAsync(cancellationToken));
            return Parse(new ConfigObject(path, document.RootElement));
        }
        catch (JsonException e)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{path}: it is not the JSON that --config reads: {e.Message}", e);
        }
        catch (InvalidOperationException e)
        {
            // A text with half a surrogate pair shows only when it is read.
            throw new DiskException(ErrorKind.InvalidArgument, $"{path}: a text in it is not Unicode: {e.Message}", e);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new DiskException(ErrorKind.NotFound, $"{path}: there is no such file.", e);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            throw new DiskException(ErrorKind.AccessDenied, $"{path}: it cannot be read: {e.Message}", e);
        }
    }

    private static ServeConfig Parse(ConfigObject file)
    {
        var config = new ServeConfig
        {
            Exports = [.. file.Objects("exports").Select(ConfigExport.Parse)],
            Socket = file.Path("socket"),
            SocketMode = file.Text("socket_mode"),
            SocketOwner = file.Text("socket_owner"),
            AllowUid = file.Texts("allow_uid"),
            Tcp = file.Path("tcp"),
            MaxConnections = file.Number("max_connections", least: 0),
            Discard = file.Word("discard", "ignore", "unmap"),
            AllocationDepth = file.Flag("allocation_depth"),
        };
        file.End();
        return config;
    }

    private static async Task<byte[]> BytesAsync(string path, CancellationToken cancellationToken)
    {
        await using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        var bytes = new byte[LargestFile + 1];
        var length = await stream.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, cancellationToken);
        return length <= LargestFile
            ? bytes[..length]
            : throw new DiskException(ErrorKind.InvalidArgument, $"{path}: a configuration has at most {LargestFile} bytes.");
    }
}
