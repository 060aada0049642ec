using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Platform.Tests;

public sealed class LockTests : IDisposable
{
    private readonly TempFolder _folder = new();
    private readonly string _disk;

    public LockTests()
    {
        _disk = _folder["disk.raw"];
        File.WriteAllBytes(_disk, new byte[1 << 20]);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Readers_share_a_file_and_keep_writers_out()
    {
        await using (await Stores.OpenAsync(_disk, StoreAccess.Read))
        await using (await Stores.OpenAsync(_disk, StoreAccess.Read))
        {
            var error = await Stores.OpenFailsAsync(ErrorKind.Busy, _disk, StoreAccess.Write);
            Assert.Contains(_disk, error.Message, StringComparison.Ordinal);
            Assert.Contains($"this process, pid {Environment.ProcessId}", error.Message, StringComparison.Ordinal);
        }

        await (await Stores.OpenAsync(_disk, StoreAccess.Write)).DisposeAsync();
    }

    [Fact]
    public async Task A_writer_is_alone_except_for_probes()
    {
        await using (await Stores.OpenAsync(_disk, StoreAccess.Write))
        {
            await Stores.OpenFailsAsync(ErrorKind.Busy, _disk, StoreAccess.Write);
            await Stores.OpenFailsAsync(ErrorKind.Busy, _disk, StoreAccess.Read);
            await using var probe = await Stores.OpenAsync(_disk, StoreAccess.Probe);
            Assert.Equal(1 << 20, probe.Length);
            Assert.False(probe.CanWrite);
        }

        await (await Stores.OpenAsync(_disk, StoreAccess.Write)).DisposeAsync();
    }

    [Fact]
    public async Task A_reader_refused_halfway_leaves_no_lock_behind()
    {
        await using (await Stores.OpenAsync(_disk, StoreAccess.Write))
        {
            await Stores.OpenFailsAsync(ErrorKind.Busy, _disk, StoreAccess.Read);
        }

        await using var writer = await Stores.OpenAsync(_disk, StoreAccess.Write);
        Assert.True(writer.CanWrite);
    }

    [Fact]
    public async Task Locks_end_with_the_store_while_child_processes_are_being_made()
    {
        using var stop = new CancellationTokenSource();
        var children = Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                await Peer.RunOkAsync("true");
            }
        });
        for (var i = 0; i < 200; i++)
        {
            await (await Stores.OpenAsync(_disk, StoreAccess.Write)).DisposeAsync();
        }

        await stop.CancelAsync();
        await children;
        await using var last = await Stores.OpenAsync(_disk, StoreAccess.Write);
        Assert.True(last.CanWrite);
    }

    [Fact]
    public async Task Qemu_reading_and_our_reader_go_together_and_refuse_our_writer()
    {
        await using var qemu = await QemuNbd.StartAsync(_folder["socket"], _disk, readOnly: true);
        await using (await Stores.OpenAsync(_disk, StoreAccess.Read))
        {
            await QemuReadsAsync(accepted: true);
        }

        var error = await Stores.OpenFailsAsync(ErrorKind.Busy, _disk, StoreAccess.Write);
        Assert.Contains($"qemu-nbd, pid {qemu.Id}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Qemu_writing_refuses_our_reader_and_our_writer()
    {
        await using (var qemu = await QemuNbd.StartAsync(_folder["socket"], _disk, readOnly: false))
        {
            var error = await Stores.OpenFailsAsync(ErrorKind.Busy, _disk, StoreAccess.Read);
            Assert.Contains($"qemu-nbd, pid {qemu.Id}", error.Message, StringComparison.Ordinal);
            await Stores.OpenFailsAsync(ErrorKind.Busy, _disk, StoreAccess.Write);
            await using var probe = await Stores.OpenAsync(_disk, StoreAccess.Probe);
            Assert.Equal(1 << 20, probe.Length);
        }

        await (await Stores.OpenAsync(_disk, StoreAccess.Write)).DisposeAsync();
    }

    [Fact]
    public async Task Our_writer_refuses_qemu_reading_and_writing()
    {
        await using (await Stores.OpenAsync(_disk, StoreAccess.Write))
        {
            await QemuReadsAsync(accepted: false);
            await QemuWritesAsync(accepted: false);
        }

        await QemuReadsAsync(accepted: true);
        await QemuWritesAsync(accepted: true);
    }

    [Fact]
    public async Task Our_reader_refuses_qemu_writing()
    {
        await using (await Stores.OpenAsync(_disk, StoreAccess.Read))
        {
            await QemuWritesAsync(accepted: false);
            await QemuReadsAsync(accepted: true);
        }

        await QemuWritesAsync(accepted: true);
    }

    private Task QemuReadsAsync(bool accepted) => QemuIoAsync(accepted, "-r", "-f", "raw", "-c", "read 0 4096", _disk);

    private Task QemuWritesAsync(bool accepted) => QemuIoAsync(accepted, "-f", "raw", "-c", "write 0 4096", _disk);

    private static async Task QemuIoAsync(bool accepted, params string[] arguments)
    {
        Peer.Require("qemu-io", "qemu-utils");
        var result = await Peer.RunAsync("qemu-io", arguments);
        Assert.True((result.ExitCode == 0) == accepted, result.Output + result.Error);
        Assert.Equal(!accepted, result.Error.Contains("lock", StringComparison.Ordinal));
    }
}
