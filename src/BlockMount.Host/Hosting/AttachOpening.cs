using System.Globalization;
using BlockMount.Core.Errors;
using BlockMount.Host.Images;

namespace BlockMount.Host.Hosting;

/// <summary>The image of an attached device, open.</summary>
/// <param name="Opened">The image.</param>
/// <param name="First">The file that it was attached by, as a whole path. A snapshot or a merge may have put another in its place since.</param>
/// <param name="Asked">What was asked to be shown, in one text: a host that comes later with the same goes on with the device.</param>
internal sealed record AttachOpening(OpenedImage Opened, string First, string Asked)
{
    private static readonly TimeSpan LockPatience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan BetweenTries = TimeSpan.FromMilliseconds(100);

    /// <inheritdoc cref="KernelExport.BackendOf"/>
    public string Backend => KernelExport.BackendOf(Opened, First);

    /// <summary>Opens the image, or the one that a host which was killed has put in its place. A host that was killed may hold its files for a moment longer.</summary>
    /// <exception cref="DiskException">It cannot be opened.</exception>
    public static async Task<AttachOpening> OpenAsync(ImageOpener opener, AttachRequest request, CancellationToken cancellationToken)
    {
        var open = request.Open;
        var path = Path.GetFullPath(await opener.ResolveAsync(request.Image, open, cancellationToken));
        var asked = string.Create(CultureInfo.InvariantCulture, $"{path}#{open.Partition}#{open.Offset}+{open.Size}#{open.Overlay}");
        for (var deadline = Environment.TickCount64 + (long)LockPatience.TotalMilliseconds; ;)
        {
            try
            {
                if (AttachRecord.WaitingFor(asked) is { Leaves: { Count: > 0 } leaves } record)
                {
                    return new AttachOpening(await OpenNewestAsync(opener, open, leaves, cancellationToken), record.Image, asked);
                }

                var opened = await opener.OpenToServeAsync(request.Image, open, cancellationToken);
                return new AttachOpening(opened, Path.GetFullPath(opened.Path), asked);
            }
            catch (DiskException e) when (e.Kind == ErrorKind.Busy && request.RecoverOnly && Environment.TickCount64 < deadline)
            {
                await Task.Delay(BetweenTries, cancellationToken);
            }
        }
    }

    /// <summary>
    /// Opens the first of the files that is whole and has the next one in its chain: one that is not was never written to, or its content has gone into
    /// the next.
    /// </summary>
    internal static async Task<OpenedImage> OpenNewestAsync(ImageOpener opener, ImageRequest open, IReadOnlyList<string> files, CancellationToken cancellationToken)
    {
        var request = open with { Chain = open.Chain with { Format = null } };
        for (var i = 0; ; i++)
        {
            try
            {
                var opened = await opener.OpenToServeAsync(files[i], request, cancellationToken);
                if (i == files.Count - 1 || opened.Layers.Any(l => Path.GetFullPath(l.Path) == files[i + 1]))
                {
                    return opened;
                }

                await opened.DisposeAsync();
            }
            catch (DiskException e) when (
                i < files.Count - 1 && e.Kind is ErrorKind.NotFound or ErrorKind.NotThisFormat or ErrorKind.CorruptImage or ErrorKind.BrokenChain)
            {
                // Half made, or gone into the next.
            }
        }
    }
}
