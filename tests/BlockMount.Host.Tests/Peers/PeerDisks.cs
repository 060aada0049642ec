using BlockMount.TestSupport;

[assembly: AssemblyFixture(typeof(BlockMount.Host.Tests.Peers.PeerDisks))]

namespace BlockMount.Host.Tests.Peers;

/// <summary>
/// One disk in every shape that is served: images and chains of every format, all with the same content. Each is made once, through the
/// program, and copied for the test that asks.
/// </summary>
public sealed class PeerDisks : IDisposable
{
    public const int Size = 16 << 20;
    private const int MiB = 1 << 20;

    private static readonly string[] s_writable =
        ["raw", "vdi", "vdi:fixed", "vhd", "vhd:fixed", "vmdk", "vmdk:split2g", "vdi vdi vdi vdi", "vdi vmdk vhd"];

    private readonly TempFolder _folder = new();
    private readonly SemaphoreSlim _gate = new(1);
    private readonly Dictionary<string, string> _made = new(StringComparer.Ordinal);

    public PeerDisks()
    {
        var content = new byte[Size];
        new Random(16).NextBytes(content.AsSpan(0, 8 * MiB));
        Base = content.ToArray();
        content.AsSpan(MiB, 2 * MiB).Fill(1);
        content.AsSpan(3 * MiB, MiB).Clear();
        content.AsSpan(9 * MiB, MiB).Fill(2);
        content.AsSpan(5 * MiB, MiB).Fill(3);
        Content = content;
    }

    /// <summary>Kinds of disks that take writes: a format with its variant, or the formats of a chain, base first.</summary>
    public static TheoryData<string> Writable => [.. s_writable];

    public static TheoryData<string> All => [.. s_writable, "vmdk:stream"];

    /// <summary>What every disk holds.</summary>
    public byte[] Content { get; }

    /// <summary>
    /// The owner of every MiB in a chain of four, as <c>qemu:allocation-depth</c> counts: 1 the leaf, 4 the base, 0 nobody. The second of them
    /// owns zeros over data of the base.
    /// </summary>
    public static IReadOnlyList<int> Depths { get; } = [4, 3, 3, 2, 4, 1, 4, 4, 0, 2, 0, 0, 0, 0, 0, 0];

    private byte[] Base { get; }

    /// <summary>The content as a raw file, which must stay as it is.</summary>
    public async Task<string> RawAsync()
    {
        await _gate.WaitAsync();
        try
        {
            return await SaveAsync("content.raw", Content);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Puts a disk into an empty folder, and returns the path of its leaf.</summary>
    public async Task<string> CopyAsync(string kind, string folder)
    {
        string? leaf;
        await _gate.WaitAsync();
        try
        {
            if (!_made.TryGetValue(kind, out leaf))
            {
                leaf = await MakeAsync(kind);
                _made.Add(kind, leaf);
            }
        }
        finally
        {
            _gate.Release();
        }

        await Peer.RunOkAsync("cp", "-r", "--sparse=always", Path.GetDirectoryName(leaf)! + "/.", folder);
        return Path.Combine(folder, Path.GetFileName(leaf));
    }

    public static bool IsReadOnly(string kind) => kind == "vmdk:stream";

    public void Dispose()
    {
        _folder.Dispose();
        _gate.Dispose();
    }

    private async Task<string> MakeAsync(string kind)
    {
        var folder = Directory.CreateDirectory(_folder[kind.Replace(' ', '-').Replace(':', '-')]).FullName;
        var formats = kind.Split(' ');
        if (formats.Length > 1)
        {
            return await MakeChainAsync(folder, formats);
        }

        var (format, variant) = kind.Split(':') is [var f, var v] ? (f, v) : (kind, null);
        var path = Path.Combine(folder, "disk." + format);
        string[] options = variant is null ? [] : ["--variant", variant];
        await Blockmount.OkAsync(["convert", .. options, await SaveAsync("content.raw", Content), path]);
        return path;
    }

    private async Task<string> MakeChainAsync(string folder, string[] formats)
    {
        Peer.Require("qemu-io", "qemu-utils");
        string[][] changes =
        [
            ["write -P 1 1M 2M"],
            ["write -z 3M 1M", "write -P 2 9M 1M"],
            ["write -P 3 5M 1M"],
        ];
        var parent = Path.Combine(folder, "L0." + formats[0]);
        await Blockmount.OkAsync("convert", await SaveAsync($"base-{formats.Length}.raw", Base), parent);
        for (var level = 1; level < formats.Length; level++)
        {
            var path = Path.Combine(folder, $"L{level}.{formats[level]}");
            await Blockmount.OkAsync("create", path, "--parent", parent);
            await using var server = await Server.StartAsync(Path.Combine(folder, "s.sock"), path);

            // A chain with fewer images than changes has the rest of them in its leaf.
            var commands = level == formats.Length - 1 ? changes[(level - 1)..].SelectMany(c => c) : changes[level - 1];
            await Peer.RunOkAsync("qemu-io", ["-f", "raw", .. commands.SelectMany(c => (string[])["-c", c]), "-c", "flush", server.Uri]);
            Assert.Equal(0, await server.StopAsync());
            parent = path;
        }

        return parent;
    }

    private async Task<string> SaveAsync(string name, byte[] content)
    {
        if (!File.Exists(_folder[name]))
        {
            await File.WriteAllBytesAsync(_folder[name], content);
        }

        return _folder[name];
    }
}
