using System.Buffers.Binary;
using System.Diagnostics;
using System.IO.Compression;
using System.Text;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Files that claim to be huge: the program answers in a sentence, soon, and in 64 MiB of heap.</summary>
public sealed class HostileImageTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string, string> Huge => new()
    {
        { "vhd-entries.vhd", "VHD block table of 4294967295 entries ends at" },
        { "vhd-entries-sparse.vhd", "max table entries is 4294967295; this program opens up to" },
        { "vdi-blocks.vdi", "VDI data offset is" },
        { "vmdk-grains.vmdk", "grain directory of 1953125 entries" },
        { "vmdk-text.vmdk", "the VMDK descriptor has 104857600 bytes; allowed are 1048576" },
        { "vmdk-embedded-text.vmdk", "VMDK descriptor at sector 1 has more than 1048576 bytes" },
        { "vmdk-tables.vmdk", "names 131072 tables of 512 sectors, more than the file of" },
        { "vmdk-extents.vmdk", "names the sparse extent" },
        { "vmdk-bomb.vmdk", "inflates to more than 16777216 bytes" },
    };

    [Theory]
    [MemberData(nameof(Huge))]
    public async Task What_claims_to_be_huge_is_refused_soon_and_with_little_memory(string name, string sentence)
    {
        await MakeAsync(name);
        var time = Stopwatch.StartNew();

        var result = await InSmallHeapAsync("convert", _folder[name], "-");

        Assert.True(result.ExitCode == 3, $"exited {result.ExitCode}: {result.Error}");
        Assert.Contains(sentence, result.Error, StringComparison.Ordinal);
        Assert.Single(result.Error.Trim().Split('\n'));
        Assert.True(time.Elapsed < TimeSpan.FromSeconds(10), $"took {time.Elapsed}");
    }

    [Fact]
    public async Task A_good_image_is_read_in_a_small_heap()
    {
        await Blockmount.OkAsync("create", _folder["a.vdi"], "--size", "4M");

        Assert.Equal(0, (await InSmallHeapAsync("convert", _folder["a.vdi"], "-")).ExitCode);
    }

    [Fact]
    public async Task A_name_with_an_escape_sequence_does_not_reach_the_terminal()
    {
        await File.WriteAllTextAsync(_folder["a.vmdk"], "# Disk DescriptorFile\nversion=1\nRW 1 FLAT \"\u001b[2J\u0007.vmdk\" 0\n");
        Directory.CreateDirectory(_folder["\u001b[2J\u0007.vmdk"]);

        var error = await Blockmount.FailsAsync(2, "info", _folder["a.vmdk"]);

        Assert.Contains("?[2J?.vmdk: is a directory", error, StringComparison.Ordinal);
        Assert.DoesNotContain(error.Trim(), char.IsControl);
    }

    /// <summary>With the heap limited, what asks for more fails with another exit code and no sentence.</summary>
    private static Task<PeerResult> InSmallHeapAsync(params string[] arguments) =>
        Peer.RunAsync("env", ["DOTNET_GCHeapHardLimit=0x4000000", Blockmount.Program, .. arguments]);

    private async Task MakeAsync(string name)
    {
        var path = _folder[name];
        switch (name[..name.IndexOf('.', StringComparison.Ordinal)])
        {
            case "vhd-entries" or "vhd-entries-sparse":
                await Blockmount.OkAsync("create", path, "--size", "4M");
                Patch(path, 512 + 28, [0xFF, 0xFF, 0xFF, 0xFF], name.Contains("sparse", StringComparison.Ordinal) ? 20L << 30 : null);
                ResealVhdHeader(path);
                break;
            case "vdi-blocks":
                await Blockmount.OkAsync("create", path, "--size", "4M");
                Patch(path, 384, [0xFF, 0xFF, 0xFF, 0xFF], 20L << 30);
                break;
            case "vmdk-grains":
                await Blockmount.OkAsync("create", path, "--size", "4M");
                Patch(path, 12, BitConverter.GetBytes(128L * 1_000_000_000));
                break;
            case "vmdk-text":
                await File.WriteAllTextAsync(path, "# Disk DescriptorFile\nversion=1\nRW 8 ZERO\n");
                Patch(path, 0, "#"u8, 100 << 20);
                break;
            case "vmdk-embedded-text":
                await Blockmount.OkAsync("create", path, "--size", "4M");
                Patch(path, 36, BitConverter.GetBytes((100L << 20) / 512), 120 << 20);
                Patch(path, 512, Encoding.ASCII.GetBytes("# Disk DescriptorFile\n" + new string('#', 2 << 20)));
                break;
            case "vmdk-tables":
                // 131072 entries of 4 bytes name the same table of 65536 entries: 32 GiB if each were loaded.
                File.Create(path).Dispose();
                Patch(path, 0, SparseHeader(131072L * 65536 * 128, 128, 65536, flags: 1, directory: 600));
                Patch(path, 512, Encoding.ASCII.GetBytes($"# Disk DescriptorFile\nversion=1\nRW {131072L * 65536 * 128} SPARSE \"x\"\n"));
                Patch(path, 600 * 512, Enumerable.Repeat(BitConverter.GetBytes(10), 131072).SelectMany(static b => b).ToArray());
                break;
            case "vmdk-extents":
                // Each of them would load a directory of 4 MiB.
                File.Create(_folder["s.vmdk"]).Dispose();
                Patch(_folder["s.vmdk"], 0, SparseHeader((1L << 20) * 512 * 128, 128, 512, flags: 1, directory: 1), 8 << 20);
                await File.WriteAllTextAsync(path, "# Disk DescriptorFile\nversion=1\n" + string.Concat(Enumerable.Repeat("RW 1 SPARSE \"s.vmdk\"\n", 40_000)));
                break;
            default:
                await MakeBombAsync(path);
                break;
        }
    }

    private static async Task MakeBombAsync(string path)
    {
        const int grain = 32768;
        var packed = new MemoryStream();
        await using (var zlib = new ZLibStream(packed, CompressionLevel.SmallestSize, leaveOpen: true))
        {
            for (var i = 0; i < 1000; i++)
            {
                await zlib.WriteAsync(new byte[1 << 20]);
            }
        }

        File.Create(path).Dispose();
        Patch(path, 0, SparseHeader(grain, grain, 512, flags: 0x30001, directory: 3));
        Patch(path, 512, Encoding.ASCII.GetBytes($"# Disk DescriptorFile\nversion=1\nRW {grain} SPARSE \"x\"\n"));
        Patch(path, 3 * 512, BitConverter.GetBytes(4));
        Patch(path, 4 * 512, BitConverter.GetBytes(8));
        Patch(path, 8 * 512, [.. new byte[8], .. BitConverter.GetBytes((uint)packed.Length), .. packed.ToArray()]);
    }

    private static byte[] SparseHeader(long capacity, long grain, uint entries, uint flags, long directory)
    {
        var header = new byte[512];
        BinaryPrimitives.WriteUInt32LittleEndian(header, 0x564D444B);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(4), 1);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8), flags);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(12), capacity);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(20), grain);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(28), directory == 1 ? 0 : 1);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(36), directory == 1 ? 0 : 1);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(44), entries);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(56), directory);
        "\n \r\n"u8.CopyTo(header.AsSpan(73));
        header[77] = (byte)(flags >> 16 == 0 ? 0 : 1);
        return header;
    }

    /// <summary>Writes into a file and gives it a length, the rest of which is a hole.</summary>
    private static void Patch(string path, long at, ReadOnlySpan<byte> bytes, long? length = null)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite);
        RandomAccess.Write(file, bytes, at);
        RandomAccess.SetLength(file, length ?? RandomAccess.GetLength(file));
    }

    private static void ResealVhdHeader(string path)
    {
        var header = new byte[1024];
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite);
        RandomAccess.Read(file, header, 512);
        header.AsSpan(36, 4).Clear();
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(36), ~(uint)header.Sum(static b => b));
        RandomAccess.Write(file, header, 512);
    }
}
