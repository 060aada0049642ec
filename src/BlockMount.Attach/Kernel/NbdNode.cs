using System.Globalization;
using BlockMount.Attach.Host;
using BlockMount.Core.Errors;
using BlockMount.Platform.Devices;
using BlockMount.Platform.Kernel;

namespace BlockMount.Attach.Kernel;

/// <summary>A device of the kernel's nbd driver as sysfs shows it, whoever attached it ("Documentation/ABI/testing/sysfs-block").</summary>
/// <param name="Index">As 3 for <c>/dev/nbd3</c>.</param>
public readonly record struct NbdNode(int Index)
{
    private const string Folder = "/sys/block";
    private const int Unit = 512;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(20);

    /// <summary>As <c>/dev/nbd3</c>.</summary>
    public string Path => string.Create(CultureInfo.InvariantCulture, $"/dev/nbd{Index}");

    /// <summary>Whether something is attached to it.</summary>
    public bool IsAttached => Directory.Exists(Folder) && File.Exists($"{Folder}/nbd{Index}/pid");

    /// <summary>What it shows, as whoever attached it said; empty when they did not.</summary>
    public string Backend => Read("backend");

    /// <summary>Number of the thread that attached it, which may have ended; empty when nothing is attached.</summary>
    public string Attacher => Read("pid");

    /// <summary>Bytes.</summary>
    public long Size => long.TryParse(Read("size"), NumberStyles.None, CultureInfo.InvariantCulture, out var units) ? units * Unit : 0;

    /// <summary>Every one that something is attached to, by number.</summary>
    public static IReadOnlyList<NbdNode> Attached() => !Directory.Exists(Folder)
        ? []
        : [.. Directory.EnumerateDirectories(Folder, "nbd*").Select(static d => Parse(System.IO.Path.GetFileName(d))).OfType<NbdNode>()
            .Where(static n => n.IsAttached).OrderBy(static n => n.Index)];

    /// <summary>Of <c>nbd3</c>, <c>/dev/nbd3</c> or <c>3</c>; null for anything else.</summary>
    public static NbdNode? Parse(string text)
    {
        var name = text.StartsWith("/dev/", StringComparison.Ordinal) ? text["/dev/".Length..] : text;
        name = name.StartsWith("nbd", StringComparison.Ordinal) ? name["nbd".Length..] : name;
        return int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var index) && index < 1 << 20 ? new NbdNode(index) : null;
    }

    /// <summary>
    /// Ends the device: its page cache is written out, it is disconnected, and what the host made of it is gone when this returns.
    /// </summary>
    /// <param name="backend">What <see cref="Backend"/> must say, so that nobody else's device is ended.</param>
    /// <param name="force">Ends it even while it is in use; what is not written yet is lost.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.NotFound"/>: it is not attached, or shows something else. <see cref="ErrorKind.Busy"/>, naming who uses it. <see cref="ErrorKind.AccessDenied"/>: not root.
    /// </exception>
    public async Task DetachAsync(string backend, bool force, CancellationToken cancellationToken = default)
    {
        RequireBackend(backend);
        if (!force)
        {
            await RequireUnusedAsync(Path, "end that first (--force detaches all the same, and loses what is not written yet).", cancellationToken);
            await SettleAsync(cancellationToken);
            var node = Path;

            // The last chance of pages that a program wrote to the node and left to the kernel.
            await Task.Run(() => DiskUsers.WriteOut(node), cancellationToken);
        }

        RequireBackend(backend);
        using (var kernel = NbdKernel.Open())
        {
            kernel.Disconnect(Index);
        }

        await WaitUntilGoneAsync(cancellationToken);
    }

    /// <summary>Waits until the kernel has let go of a device that was disconnected, and makes it forget the partitions.</summary>
    internal async Task WaitUntilGoneAsync(CancellationToken cancellationToken)
    {
        var node = this;
        await WaitAsync(() => !node.IsAttached, cancellationToken);
        await SettleAsync(cancellationToken);

        // Partitions stay until the disk, which has no bytes any more, is opened again.
        var path = Path;
        await Task.Run(() => KernelPartitions.Scan(path), cancellationToken);
        foreach (var partition in KernelPartitions.Of(path))
        {
            try
            {
                KernelPartitions.Remove(path, partition.Number);
            }
            catch (DiskException e) when (e.Kind is ErrorKind.Busy or ErrorKind.Io)
            {
                // Somebody still has the partition open; it goes when the device is used the next time.
            }
        }

        await SettleAsync(cancellationToken);
    }

    /// <summary>Waits for what udev does with the device; programs that it starts would keep it busy.</summary>
    internal static async Task SettleAsync(CancellationToken cancellationToken)
    {
        if (File.Exists("/run/udev/control") && HostProgram.Find("udevadm") is not null)
        {
            await HostProgram.RunAsync("udevadm", ["settle", "--timeout=10"], cancellationToken);
        }
    }

    /// <summary>False when it did not come to it in time.</summary>
    internal static Task<bool> WaitAsync(Func<bool> happened, CancellationToken cancellationToken) => WaitAsync(happened, Patience, cancellationToken);

    private void RequireBackend(string backend)
    {
        if (!IsAttached)
        {
            throw new DiskException(ErrorKind.NotFound, $"{Path}: nothing is attached to it.") { Path = Path };
        }

        if (!string.Equals(Backend, backend, StringComparison.Ordinal))
        {
            throw new DiskException(ErrorKind.NotFound, $"{Path}: it shows '{Backend}', not '{backend}'; it is left alone.") { Path = Path };
        }
    }

    /// <param name="path">A device.</param>
    /// <param name="advice">What to do about it, as the end of a sentence.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>, naming who uses it or one of its partitions.</exception>
    internal static async Task RequireUnusedAsync(string path, string advice, CancellationToken cancellationToken)
    {
        IReadOnlyList<string> users = [];

        // Something that looks at every device may hold it for a moment.
        if (!await WaitAsync(() => (users = DiskUsers.Of(path)).Count == 0, TimeSpan.FromSeconds(2), cancellationToken))
        {
            throw new DiskException(ErrorKind.Busy, $"{path}: {string.Join(", ", users)}; {advice}") { Path = path };
        }
    }

    private static async Task<bool> WaitAsync(Func<bool> happened, TimeSpan patience, CancellationToken cancellationToken)
    {
        for (var deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds; !happened();)
        {
            if (Environment.TickCount64 > deadline)
            {
                return false;
            }

            await Task.Delay(BetweenLooks, cancellationToken);
        }

        return true;
    }

    private string Read(string file)
    {
        try
        {
            return File.ReadAllText($"{Folder}/nbd{Index}/{file}").TrimEnd('\n');
        }
        catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
