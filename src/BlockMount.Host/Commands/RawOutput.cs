using System.Buffers;
using BlockMount.Core.Devices;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Commands;

/// <summary>Streams a disk's bytes to stdout, reading ahead of the writer.</summary>
internal static class RawOutput
{
    private const int Piece = 1 << 20;

    public static async Task WriteAsync(BlockDevice device, CancellationToken cancellationToken)
    {
        await using var output = Console.OpenStandardOutput();
        await ProgressBar.RunAsync("convert", device.Length, progress => CopyAsync(device, output, progress, cancellationToken));
    }

    private static async Task CopyAsync(BlockDevice device, Stream output, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        var (front, back) = (ArrayPool<byte>.Shared.Rent(Piece), ArrayPool<byte>.Shared.Rent(Piece));
        var pending = Task.CompletedTask;
        try
        {
            for (long at = 0; at < device.Length; at += Piece)
            {
                var part = (int)Math.Min(Piece, device.Length - at);
                await device.ReadAsync(at, front.AsMemory(0, part), cancellationToken);
                await pending;
                var full = front;
                pending = Task.Run(() => output.Write(full, 0, part), cancellationToken);
                (front, back) = (back, front);
                progress?.Report(at + part);
            }

            await pending;
            await output.FlushAsync(cancellationToken);
        }
        finally
        {
            await pending.ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
            ArrayPool<byte>.Shared.Return(front);
            ArrayPool<byte>.Shared.Return(back);
        }
    }
}
