using System.Runtime.InteropServices;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;
using Microsoft.Extensions.Logging;

namespace BlockMount.Host.Hosting;

/// <summary>Reads the configuration again when it is asked for, over the control socket or by SIGHUP.</summary>
internal sealed class ReloadOnHangup(
    ServedImages images, Func<CancellationToken, Task<IReadOnlyList<ExportRequest>>> read, IReadOnlyDictionary<string, ImageMode> modes, ServiceNotice notice, ILogger log) : IDisposable
{
    private readonly CancellationTokenSource _ending = new();

    public void Listen() => Hangup.Handler = () => _ = ReloadQuietlyAsync();

    public void Dispose()
    {
        Hangup.Handler = null;
        _ending.Cancel();
    }

    /// <exception cref="DiskException">The configuration is wrong (nothing has changed then), or an image cannot be opened or flushed.</exception>
    public async Task<ReloadDocument> ReloadAsync(CancellationToken cancellationToken)
    {
        notice.Reloading();
        try
        {
            var done = await images.ReplaceAsync(await read(cancellationToken), modes, cancellationToken);
            log.LogInformation(
                "The configuration was read again: {Added} added, {Removed} removed, {Changed} changed, {Unchanged} unchanged.",
                done.Added.Count, done.Removed.Count, done.Changed.Count, done.Unchanged.Count);
            return done;
        }
        catch (DiskException e)
        {
            log.LogError("The configuration was not taken over: {Reason}", e.Message);
            throw;
        }
        finally
        {
            notice.Ready($"serving {images.All.Length} images");
        }
    }

    private async Task ReloadQuietlyAsync()
    {
        try
        {
            await Task.Run(() => ReloadAsync(_ending.Token));
        }
        catch (Exception e) when (e is DiskException or OperationCanceledException)
        {
            // It is in the log, and what is served goes on.
        }
    }
}

/// <summary>What SIGHUP does in place of ending the program.</summary>
internal static class Hangup
{
    private static Action? s_handler;

    public static Action? Handler
    {
        get => Volatile.Read(ref s_handler);
        set => Volatile.Write(ref s_handler, value);
    }

    /// <summary>Whether somebody has taken the signal.</summary>
    public static bool Handle(PosixSignal signal)
    {
        if (signal != PosixSignal.SIGHUP || Handler is not { } handler)
        {
            return false;
        }

        handler();
        return true;
    }
}
