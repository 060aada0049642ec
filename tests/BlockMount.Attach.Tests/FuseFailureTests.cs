using BlockMount.Attach.Fuse;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;
using Microsoft.Extensions.Logging;

namespace BlockMount.Attach.Tests;

public sealed class FuseFailureTests
{
    private const int Megabyte = 1 << 20;

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public async Task A_failed_read_is_an_io_error_and_never_a_short_file(int delayMilliseconds)
    {
        var device = new FaultyDevice(4 * Megabyte)
        {
            Delay = TimeSpan.FromMilliseconds(delayMilliseconds),
            Failure = (operation, offset, length) => operation == "read" && offset + length > 2 * Megabyte ? FaultyDevice.Io("reading") : null,
        };
        using var folder = new TempFolder();
        await using var files = await MountedFiles.StartAsync(device);
        var result = await Peer.RunAsync("cp", [files["disk.raw"], folder["copy"]]);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("Input/output error", result.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(ErrorKind.NoSpace, "No space left on device")]
    [InlineData(ErrorKind.Io, "Input/output error")]
    [InlineData(ErrorKind.PreviousFailure, "Input/output error")]
    [InlineData(ErrorKind.CorruptImage, "Input/output error")]
    public async Task A_failed_write_is_reported(ErrorKind kind, string sentence)
    {
        var device = new FaultyDevice(Megabyte) { Failure = (operation, _, _) => operation == "write" ? new DiskException(kind, "memory: it failed.") : null };
        await using var files = await MountedFiles.StartAsync(device);
        var result = await Peer.RunAsync("dd", ["if=/dev/zero", $"of={files["disk.raw"]}", "bs=4096", "count=4", "conv=notrunc"]);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains(sentence, result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_unexpected_exception_is_an_io_error_and_logged_and_the_mount_goes_on()
    {
        var log = new ListLogger();
        var device = new FaultyDevice(Megabyte) { Failure = (operation, offset, _) => operation == "read" && offset == 0 ? new InvalidOperationException("surprise") : null };
        await using (var files = await MountedFiles.StartAsync(device, new FuseMountOptions { Logger = log }))
        {
            using var file = File.OpenHandle(files["disk.raw"]);
            Assert.ThrowsAny<IOException>(() => RandomAccess.Read(file, new byte[512], 0));
            Assert.Equal(512, RandomAccess.Read(file, new byte[512], 4096));
        }

        // The answer goes out before the log line; after the mount has ended both are there.
        Assert.Contains(log.Lines, line => line.Level == LogLevel.Error && line.Error is InvalidOperationException { Message: "surprise" });
    }

    [Fact]
    public async Task A_slow_device_has_many_requests_under_way_but_not_without_bound()
    {
        var device = new FaultyDevice(Megabyte) { Delay = TimeSpan.FromMilliseconds(20) };
        await using var files = await MountedFiles.StartAsync(device, new FuseMountOptions { Threads = 2 });
        Peer.Require("fio", "fio");
        await Peer.RunOkAsync(
            "fio", "--name=read", "--ioengine=psync", "--rw=randread", "--bs=4k", "--size=1M", "--numjobs=100", "--thread", "--io_size=20k", $"--filename={files["disk.raw"]}");
        Assert.InRange(device.MostUnderWay, 16, 64 + 2);
    }

    [Fact]
    public async Task A_flush_that_fails_when_unmounting_is_reported()
    {
        var device = new FaultyDevice(Megabyte) { Failure = (operation, _, _) => operation == "flush" ? FaultyDevice.Io("flush") : null };
        Peer.RequireRoot();
        Peer.RequireFuse();
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["mount"]);
        var mount = await FuseMount.StartAsync(folder["mount"], [new VirtualFile("disk.raw", device)]);
        var error = await Assert.ThrowsAsync<DiskException>(() => mount.UnmountAsync());
        Assert.Equal(ErrorKind.Io, error.Kind);
    }
}

internal sealed class ListLogger : ILogger
{
    private readonly List<(LogLevel Level, string Text, Exception? Error)> _lines = [];

    public IReadOnlyList<(LogLevel Level, string Text, Exception? Error)> Lines
    {
        get
        {
            lock (_lines)
            {
                return [.. _lines];
            }
        }
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        lock (_lines)
        {
            _lines.Add((logLevel, formatter(state, exception), exception));
        }
    }
}
