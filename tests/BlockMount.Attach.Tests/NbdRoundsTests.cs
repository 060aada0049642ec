using BlockMount.Attach.Kernel;
using BlockMount.Nbd;
using BlockMount.Platform.Kernel;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

/// <summary>Devices of the kernel's nbd driver, attached and detached by this process: run by itself in a guest whose kernel has the driver.</summary>
public sealed class NbdRoundsTests
{
    private const int Rounds = 100;
    private const int Size = 4 << 20;

    [Fact]
    public async Task A_hundred_rounds_leave_nothing_behind()
    {
        var program = Path.Combine(AppContext.BaseDirectory, "BlockMount.Attach.Tests");
        var report = await Guest.RunAsync(
            $"""
            modprobe nbd
            rounds() {'{'}
                '{program}' -noColor -explicit only -method '*A_device_comes_and_goes*' | tee /tmp/said
                grep 'Total: 1, Errors: 0, Failed: 0, Skipped: 0, Not Run: 0' /tmp/said
            {'}'}
            check 'a hundred rounds' rounds
            """,
            300);
        report.AssertAllOk("a hundred rounds");
    }

    [Fact(Explicit = true)]
    public async Task A_device_comes_and_goes_again_and_again()
    {
        Assert.True(NbdKernel.IsPresent, "the kernel has no nbd driver");
        var disk = new MemoryDevice(Size);
        WriteTable(disk.Bytes);
        var export = new NbdExport("disk", disk);
        await using var server = new NbdServer([export]);
        var before = Left();
        for (var round = 0; round < Rounds; round++)
        {
            var device = await NbdDevice.AttachAsync(new NbdAttachRequest
            {
                Size = Size,
                Flags = export.TransmissionFlags(NbdReplyStyle.Simple),
                Backend = $"blockmount:rw:/round {round}",
                Connections = (round % 4) + 1,
                ReconnectTime = TimeSpan.FromSeconds(round % 2 * 10),
                Serve = socket => server.Serve(socket, export),
                Partitions = [new NodePartition(1, 1 << 20, 1 << 20)],
            });
            Assert.Equal($"blockmount:rw:/round {round}", device.Node.Backend);
            Assert.True(File.Exists(device.PartitionNode(1)));
            await device.DetachAsync(force: round % 3 == 0);
            Assert.False(device.Node.IsAttached);
        }

        Assert.Equal(0, server.OpenConnections);
        Assert.Empty(NbdNode.Attached());
        Assert.Empty(Directory.GetFiles("/dev", "nbd*p*"));

        // Some descriptors and threads are the runtime's own.
        var after = Left();
        Assert.InRange(after.Descriptors, 0, before.Descriptors + 8);
        Assert.InRange(after.Threads, 0, before.Threads + 16);
    }

    private static (int Descriptors, int Threads) Left() =>
        (Directory.GetFileSystemEntries("/proc/self/fd").Length, Directory.GetFileSystemEntries("/proc/self/task").Length);

    /// <summary>An MBR with one partition of 1 MiB at 1 MiB.</summary>
    private static void WriteTable(byte[] disk)
    {
        byte[] entry = [0, 0, 2, 0, 0x83, 0, 2, 0, 0, 8, 0, 0, 0, 8, 0, 0];
        entry.CopyTo(disk, 446);
        (disk[510], disk[511]) = (0x55, 0xAA);
    }
}
