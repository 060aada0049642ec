using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>Several images on each other, asked as one.</summary>
internal static class LayerStack
{
    /// <summary>No image of the range holds the run.</summary>
    public const int Nobody = -1;

    /// <summary>An image of the range ends in front of the run: what lies on it inherits zeros, whatever the images below hold.</summary>
    public const int CutOff = -2;

    /// <summary>
    /// The run at <paramref name="offset"/> as the images <paramref name="first"/> to <paramref name="last"/> have it: kind <see cref="RunKind.Data"/>
    /// or <see cref="RunKind.Zero"/> with the index of the image that decides, or zero with <see cref="Nobody"/> or <see cref="CutOff"/>. The run may
    /// only shrink on the way down: what a child says of fewer bytes must not be extended by its parent's answer.
    /// </summary>
    public static async ValueTask<(BlockRun Run, int Layer)> ResolveAsync(
        IReadOnlyList<ImageLayer> layers, int first, int last, long offset, long length, CancellationToken cancellationToken)
    {
        for (var i = last; i >= first; i--)
        {
            var layer = layers[i];
            if (offset >= layer.Capacity)
            {
                return (new BlockRun(RunKind.Zero, length), CutOff);
            }

            length = Math.Min(length, layer.Capacity - offset);
            var run = await layer.ResolveAsync(offset, length, cancellationToken);
            length = run.Length;
            if (run.Kind != RunKind.Parent)
            {
                return (run, i);
            }
        }

        return (new BlockRun(RunKind.Zero, length), Nobody);
    }
}
