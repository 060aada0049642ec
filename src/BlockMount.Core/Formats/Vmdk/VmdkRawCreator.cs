using System.Text;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Writes new images of real disks: the machine's own copies of the table first, then the descriptor that makes the files an image.</summary>
internal static class VmdkRawCreator
{
    public static async ValueTask CreateAsync(ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken)
    {
        var layout = VmdkRawLayout.Plan(store.Name, options);
        var text = Encoding.UTF8.GetBytes(layout.Text(options, VmdkCreator.NewContentId(), options.Uuid ?? Guid.NewGuid()));
        var made = false;
        try
        {
            if (layout.CopyPath is { } path)
            {
                await using var copies = await context.Provider.CreateAsync(path, cancellationToken);
                made = true;
                await WriteAsync(copies, layout.Copies, cancellationToken);
            }

            // The descriptor makes the files an image, so it goes last.
            await WriteAsync(store, [text], cancellationToken);
        }
        catch
        {
            if (made)
            {
                context.Provider.Delete(layout.CopyPath!);
            }

            throw;
        }
    }

    private static async ValueTask WriteAsync(ByteStore store, IEnumerable<ReadOnlyMemory<byte>> pieces, CancellationToken cancellationToken)
    {
        long at = 0;
        foreach (var piece in pieces)
        {
            await store.WriteAsync(at, piece, cancellationToken);
            at += piece.Length;
        }

        await store.FlushAsync(cancellationToken);
    }
}
