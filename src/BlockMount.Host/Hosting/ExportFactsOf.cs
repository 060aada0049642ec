using BlockMount.Core.Devices;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Hosting;

/// <summary>The facts of an open image that <c>list</c> shows.</summary>
internal static class ExportFactsOf
{
    public static ExportFacts Device(string name, string uri, OpenedImage opened, MeterDevice meter)
    {
        var r = meter.Reading;
        var (image, overlay) = opened.Files;
        return new ExportFacts(
            name, uri, Path.GetFullPath(image), meter.IsReadOnly ? "read-only" : opened.Mode, overlay, meter.IsReadOnly, meter.Length, r.Reads, r.BytesRead, r.Writes, r.BytesWritten, r.Zeroes, r.Trims, r.Flushes);
    }
}
