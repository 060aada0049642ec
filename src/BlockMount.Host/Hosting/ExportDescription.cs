using BlockMount.Host.Images;

namespace BlockMount.Host.Hosting;

/// <summary>What clients are told about an export when the user gave no text.</summary>
internal static class ExportDescription
{
    /// <summary>Format, length of the chain, part and mode, such as <c>vdi, chain of 3 images, read-only</c>.</summary>
    public static string Of(OpenedImage opened)
    {
        // An overlay is not what the user named.
        var layers = opened.Layers;
        var own = opened.Overlay is null ? layers.Count : layers.Count - 1;
        string?[] parts =
        [
            layers[own - 1].Describe().Format,
            own > 1 ? $"chain of {own} images" : null,
            opened.Device.Length < opened.Disk.Length ? "part of the disk" : null,
            ModeOf(opened),
        ];
        return string.Join(", ", parts.OfType<string>());
    }

    private static string ModeOf(OpenedImage opened) => opened.Overlay switch
    {
        null => opened.Mode,
        ImageRequest.TemporaryOverlay => "writes are thrown away at the end",
        _ => "writes go to an overlay",
    };
}
