using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using Microsoft.Extensions.Logging;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>NBD_CMD_FLAG_FAST_ZERO, and the flags that an export tells of its device.</summary>
public sealed class FastZeroTests
{
    private const int Size = 1 << 20;

    [Theory]
    [InlineData(NbdReplyStyle.Simple)]
    [InlineData(NbdReplyStyle.Structured)]
    [InlineData(NbdReplyStyle.Extended)]
    public async Task It_is_done_where_the_device_says_so_and_otherwise_not_supported_with_nothing_changed(NbdReplyStyle style)
    {
        var device = new HalfFastDevice(Size);
        device.Bytes.AsSpan().Fill(1);
        await using var server = new TestServer(device);
        using var client = server.Go(style);
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE_ZEROES, 0, 4096, NBD_CMD_FLAG_FAST_ZERO));
        Assert.Equal(0, device.Bytes[4095]);
        Assert.Equal(NBD_ENOTSUP, client.Error(NBD_CMD_WRITE_ZEROES, Size / 2, 4096, NBD_CMD_FLAG_FAST_ZERO));
        Assert.Equal(NBD_ENOTSUP, client.Error(NBD_CMD_WRITE_ZEROES, 8192, 4096, NBD_CMD_FLAG_FAST_ZERO | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FUA));
        Assert.Equal((1, 1), (device.Bytes[Size / 2], device.Bytes[8192]));

        // Never said to a plain request.
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE_ZEROES, Size / 2, 4096, NBD_CMD_FLAG_FUA));
        Assert.Equal(0, device.Bytes[Size / 2]);
        client.AssertInStep();
    }

    [Fact]
    public async Task Refusals_for_speed_are_not_logged_as_failures_and_a_read_only_export_does_not_offer_it()
    {
        var log = new KeptLog(LogLevel.Warning);
        await using var server = new TestServer([new NbdExport("disk", new MemoryDevice(Size)), new NbdExport("ro", new MemoryDevice(Size, readOnly: true))], log: log);
        using var client = server.Go();
        Assert.Equal(NBD_ENOTSUP, client.Error(NBD_CMD_WRITE_ZEROES, 0, 4096, NBD_CMD_FLAG_FAST_ZERO));
        Assert.Empty(log.Lines);
        var flags = server.Server.Exports[1].TransmissionFlags(NbdReplyStyle.Extended);
        Assert.Equal(0, flags & (NBD_FLAG_SEND_FAST_ZERO | NBD_FLAG_SEND_WRITE_ZEROES));
        using var reader = server.Go(name: "ro");
        Assert.Equal(NBD_EPERM, reader.Error(NBD_CMD_WRITE_ZEROES, 0, 4096, NBD_CMD_FLAG_FAST_ZERO));
    }

    [Fact]
    public void Not_fast_is_said_to_requests_that_asked_for_it_alone()
    {
        var error = new DiskException(ErrorKind.NotFast, "x");
        Assert.Equal((NBD_ENOTSUP, NBD_EIO), (NbdErrors.ToErrno(error, isWrite: true, isFastZero: true), NbdErrors.ToErrno(error, isWrite: true)));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Whether_the_disk_turns_is_told(bool turns)
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        await using var server = new TestServer(new MeterDevice(new TurningDevice(Size, turns)));
        Assert.Equal(turns ? 0 : 2, (await Peer.RunAsync("nbdinfo", ["--is", "rotational", server.Uri])).ExitCode);
    }

    [Fact]
    public async Task Libnbd_gets_both_answers()
    {
        Peer.Require("nbdsh", "python3-libnbd");
        var device = new HalfFastDevice(Size);
        device.Bytes.AsSpan().Fill(1);
        await using var server = new TestServer(device);
        var script = $"""
            h.connect_uri("{server.Uri}")
            assert h.can_fast_zero()
            h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO)
            assert h.pread(4096, 0) == bytearray(4096)
            try:
                h.zero(4096, {Size / 2}, nbd.CMD_FLAG_FAST_ZERO)
                assert False
            except nbd.Error as e:
                assert e.errno == 'ENOTSUP' or e.errno == 'EOPNOTSUPP', e.errno
            assert h.pread(1, {Size / 2}) == b'\x01'
            print("all well")
            """;
        var result = await Peer.RunAsync("nbdsh", ["-c", "-"], script);
        Assert.True(result.ExitCode == 0 && result.Output.Contains("all well", StringComparison.Ordinal), result.Error + result.Output);
    }

    [Fact]
    public async Task Qemu_converts_to_a_disk_that_is_not_fast_as_to_any_other()
    {
        Peer.Require("qemu-img", "qemu-utils");
        using var folder = new TempFolder();
        var content = new byte[Size];
        new Random(1).NextBytes(content.AsSpan(100_000, 200_000));
        await File.WriteAllBytesAsync(folder["in.raw"], content);
        foreach (var device in (MemoryDevice[])[new MemoryDevice(Size), new HalfFastDevice(Size)])
        {
            device.Bytes.AsSpan().Fill(0xee);
            await using var server = new TestServer(device);
            await Peer.RunOkAsync("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", folder["in.raw"], server.Uri);
            Assert.True(device.Bytes.AsSpan().SequenceEqual(content));
        }
    }

    /// <summary>Fast in the first half.</summary>
    private sealed class HalfFastDevice(long length) : MemoryDevice(length)
    {
        protected override ValueTask<bool> CanZeroFastCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
            new(!keepAllocated && offset + length <= Length / 2);
    }

    private sealed class TurningDevice(long length, bool turns) : MemoryDevice(length)
    {
        public override bool IsRotational => turns;
    }
}
