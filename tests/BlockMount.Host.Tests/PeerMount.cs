using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>The FUSE mounters of the libyal libraries, which show an image's content as a file.</summary>
internal static class PeerMount
{
    /// <summary>SHA-256 of the disk that <c>vhdimount</c> or <c>vmdkmount</c> shows.</summary>
    public static async Task<string> Sha256Async(string mounter, string image)
    {
        Peer.RequireFuse();
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["mnt"]);
        await Peer.RunOkAsync(mounter, image, folder["mnt"]);
        try
        {
            // The images of a chain are shown base first.
            var last = Directory.GetFiles(folder["mnt"]).Order(StringComparer.Ordinal).Last();
            return await Blockmount.Sha256OfAsync($"cat {last}");
        }
        finally
        {
            await Peer.RunOkAsync("umount", folder["mnt"]);
        }
    }
}
