using BlockMount.Core.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>Tables made by sfdisk read as sfdisk and partx read them.</summary>
public sealed class SystemTableTests
{
    private const int Size = 64 << 20;

    private const string MbrScript = """
        label: dos
        label-id: 0xcafe1234
        start=2048, size=8192, type=83, bootable
        start=12288, size=4096, type=c
        start=20480, size=100000, type=f
        start=22528, size=4096, type=83
        start=30720, size=4096, type=82
        start=40960, size=10000, type=7
        """;

    private const string GptScript = """
        label: gpt
        start=2048, size=16384, type=U, name="EFI system"
        5 : start=20480, size=16384, type=L, name="h\xc3\xa9llo", attrs="LegacyBIOSBootable GUID:60"
        9 : start=40960, size=2048, type=S
        """;

    [Theory]
    [InlineData(MbrScript)]
    [InlineData(GptScript)]
    [InlineData("label: dos\nlabel-id: 0x1\n")]
    [InlineData("label: gpt\n")]
    [InlineData("label: dos\nstart=2048,size=10240,type=83\nstart=20480,size=4096,type=a5\n4 : start=65536,size=8192,type=7\n")]
    public async Task Tables_of_sfdisk_are_listed_as_sfdisk_and_partx_list_them(string script)
    {
        using var folder = new TempFolder();
        var path = folder["disk.img"];
        await MakeAsync(path, script);

        var table = await ReadAsync(path);

        await Sfdisk.AgreesAsync(table, path);
        await Partx.AgreesAsync(table, path);
        Assert.DoesNotContain(table.Diagnostics, found => found.Severity > DiagnosticSeverity.Information);
    }

    [Theory]
    [InlineData("label: gpt\nstart=256,size=2048,type=U,name=esp\nstart=4096,size=4096,type=L\n", false)]
    [InlineData("label: dos\nlabel-id: 0xabcdef01\nstart=256,size=2048,type=83\nstart=4096,size=8192,type=5\nstart=4352,size=1024,type=83\nstart=5632,size=1024,type=83\n", true)]
    public async Task Tables_made_on_a_disk_of_4096_byte_sectors_are_listed_as_sfdisk_lists_them_there(string script, bool declare)
    {
        Peer.RequireRoot();
        Peer.Require("losetup", "mount");
        Peer.Require("sfdisk", "fdisk");
        using var folder = new TempFolder();
        var path = folder["disk.img"];
        MakeSparse(path, Size);
        var loop = (await Peer.RunOkAsync("losetup", "--find", "--show", "--sector-size", "4096", path)).Trim();
        try
        {
            var made = await Peer.RunAsync("sfdisk", ["--no-reread", "--no-tell-kernel", loop], script);
            Assert.True(made.ExitCode == 0, made.Error);
            await using var device = FileDevice.Open(loop, Size);

            var table = await PartitionTable.ReadAsync(device, declare ? 4096 : 512, TestContext.Current.CancellationToken);

            Assert.Equal(4096, table.SectorSize);
            Assert.Equal(!declare, table.Diagnostics.Any(found => found.Code == PartitionDiagnosticCodes.SectorSize));
            await Sfdisk.AgreesAsync(table, loop);
        }
        finally
        {
            await Peer.RunOkAsync("losetup", "--detach", loop);
        }
    }

    private static void MakeSparse(string path, long size)
    {
        using var handle = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write);
        RandomAccess.SetLength(handle, size);
    }

    private static async Task MakeAsync(string path, string script)
    {
        Peer.Require("sfdisk", "fdisk");
        Peer.Require("partx", "util-linux");
        MakeSparse(path, Size);
        var made = await Peer.RunAsync("sfdisk", [path], script);
        Assert.True(made.ExitCode == 0, made.Error);
    }

    private static async Task<PartitionTable> ReadAsync(string path)
    {
        await using var device = FileDevice.Open(path);
        return await PartitionTable.ReadAsync(device, TestContext.Current.CancellationToken);
    }
}
