using BlockMount.Core.Errors;
using BlockMount.Nbd.Tests.Support;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>A device that fails: the client hears what and why, and everything that did not fail goes on.</summary>
public sealed class DeviceErrorTests
{
    [Theory]
    [InlineData(ErrorKind.Io, NBD_EIO)]
    [InlineData(ErrorKind.NoSpace, NBD_ENOSPC)]
    [InlineData(ErrorKind.OutOfRange, NBD_ENOSPC)]
    [InlineData(ErrorKind.InvalidArgument, NBD_EINVAL)]
    [InlineData(ErrorKind.ReadOnly, NBD_EPERM)]
    [InlineData(ErrorKind.AccessDenied, NBD_EPERM)]
    [InlineData(ErrorKind.PreviousFailure, NBD_EIO)]
    [InlineData(ErrorKind.ShuttingDown, NBD_ESHUTDOWN)]
    [InlineData(ErrorKind.CorruptImage, NBD_EIO)]
    [InlineData(ErrorKind.BrokenChain, NBD_EIO)]
    [InlineData(ErrorKind.Busy, NBD_EIO)]
    public void Each_kind_of_error_has_its_value_on_the_wire(ErrorKind kind, uint expected) =>
        Assert.Equal(expected, NbdErrors.ToErrno(new DiskException(kind, "x"), isWrite: true));

    [Fact]
    public void Every_kind_maps_to_a_value_of_the_protocol()
    {
        uint[] allowed = [NBD_EPERM, NBD_EIO, NBD_ENOMEM, NBD_EINVAL, NBD_ENOSPC, NBD_ESHUTDOWN];
        Assert.All(Enum.GetValues<ErrorKind>(), k => Assert.Contains(NbdErrors.ToErrno(new DiskException(k, "x"), isWrite: false), allowed));
        Assert.Equal(NBD_EINVAL, NbdErrors.ToErrno(new DiskException(ErrorKind.OutOfRange, "x"), isWrite: false));
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task A_failed_read_or_write_is_answered_with_its_reason_and_the_next_one_works(bool later, bool structured)
    {
        var device = new FailingDevice(1 << 20) { Later = later };
        await using var server = new TestServer(device);
        using var client = server.Go(structured);

        // What is known to be zero is not even read.
        device.Bytes.AsSpan().Fill(1);
        foreach (var (type, length) in ((ushort, int)[])[(NBD_CMD_READ, 4096), (NBD_CMD_WRITE, 4096), (NBD_CMD_READ, 1 << 20), (NBD_CMD_WRITE, 1 << 20)])
        {
            device.Fails = _ => new DiskException(ErrorKind.NoSpace, "disk.vdi: the host is full.");
            client.Request(type, 0, (uint)length, payload: type == NBD_CMD_WRITE ? new byte[length] : null);
            var reply = client.Reply();
            Assert.Equal((NBD_ENOSPC, !structured), (reply.Error, reply.IsSimple));
            Assert.True(reply.IsSimple || string.Equals(reply.Text, "disk.vdi: the host is full.", StringComparison.Ordinal));
            device.Fails = _ => null;
            client.AssertInStep();
            Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, 0, 4096, NBD_CMD_FLAG_FUA, new byte[4096]));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_operation_that_completes_while_it_is_looked_at_is_answered_like_any_other(bool structured)
    {
        var device = new SuddenDevice(1 << 20);
        new Random(1).NextBytes(device.Bytes);
        await using var server = new TestServer(device);
        using var client = server.Go(structured);

        // Without its data the reply would be an error to one client, and to another the next reply's bytes.
        Assert.Equal(device.Bytes[4096..8192], client.Read(4096, 4096));
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, 0, 4096, NBD_CMD_FLAG_FUA, new byte[4096]));
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_FLUSH, 0, 0));
        Assert.Equal(new byte[4096], client.Read(0, 4096));

        device.Failure = new DiskException(ErrorKind.Io, "bad sector");
        client.Request(NBD_CMD_READ, 0, 4096);
        Assert.Equal(NBD_EIO, client.Reply().Error);
        device.Failure = null;
        client.AssertInStep();
    }

    [Fact]
    public async Task A_very_long_reason_is_cut_to_4096_bytes()
    {
        var device = new FailingDevice(4096) { Fails = _ => new DiskException(ErrorKind.Io, new string('ä', 5000)) };
        await using var server = new TestServer(device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, 512);
        Assert.Equal(new string('ä', 2048), client.Reply().Text);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_unexpected_exception_is_an_io_error_and_stops_all_writes_and_flushes_of_the_export(bool later)
    {
        var device = new FailingDevice(1 << 20) { Later = later };
        await using var server = new TestServer(
            [new NbdExport("disk", device) { Trim = true }, new NbdExport("other", new FailingDevice(1 << 20))]);
        using var client = server.Go();
        using var second = server.Go();
        using var other = server.Go(name: "other");
        Assert.Equal(NBD_SUCCESS, second.Error(NBD_CMD_WRITE, 0, 512, payload: new byte[512]));
        device.Fails = _ => new InvalidOperationException("a fault of ours");
        Assert.Equal(NBD_EIO, client.Error(NBD_CMD_READ, 0, 512));
        device.Fails = _ => null;
        client.AssertInStep();
        Assert.Equal(NBD_EIO, second.Error(NBD_CMD_WRITE, 0, 512, payload: new byte[512]));
        Assert.Equal(NBD_EIO, second.Error(NBD_CMD_WRITE_ZEROES, 0, 512));
        Assert.Equal(NBD_EIO, second.Error(NBD_CMD_TRIM, 0, 512));
        Assert.Equal(NBD_EIO, second.Error(NBD_CMD_FLUSH, 0, 0));
        Assert.Equal(NBD_SUCCESS, other.Error(NBD_CMD_WRITE, 0, 512, payload: new byte[512]));
        Assert.Contains("a fault of ours", server.Server.Exports[0].WriteRefusal, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Exports_over_the_same_bytes_stop_writing_together()
    {
        var device = new FailingDevice(1 << 20);
        var latch = new WriteLatch();
        await using var server = new TestServer([new NbdExport("disk", device) { Latch = latch }, new NbdExport("part", device) { Latch = latch }]);
        using var whole = server.Go();
        using var part = server.Go(name: "part");
        device.Fails = _ => new InvalidOperationException("a fault of ours");
        Assert.Equal(NBD_EIO, part.Error(NBD_CMD_WRITE, 0, 512, payload: new byte[512]));
        device.Fails = _ => null;

        Assert.Equal(NBD_EIO, whole.Error(NBD_CMD_WRITE, 0, 512, payload: new byte[512]));
        Assert.Equal(NBD_EIO, whole.Error(NBD_CMD_FLUSH, 0, 0));
        whole.AssertInStep();
    }
}
