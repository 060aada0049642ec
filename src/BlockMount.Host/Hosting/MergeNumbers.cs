using BlockMount.Core.Errors;

namespace BlockMount.Host.Hosting;

/// <summary>Which images of a chain are merged.</summary>
internal static class MergeNumbers
{
    /// <param name="from">The image that goes, with those between it and <paramref name="to"/>.</param>
    /// <param name="to">The image that stays.</param>
    /// <param name="intoParent">The leaf into the image it was made from.</param>
    /// <param name="count">Images of the chain.</param>
    /// <exception cref="DiskException">It is not said, said twice, or there is no parent.</exception>
    public static (int From, int To) Of(int? from, int? to, bool intoParent, int count)
    {
        if (intoParent)
        {
            return from is null && to is null
                ? count > 1 ? (count - 1, count - 2) : throw new DiskException(ErrorKind.InvalidArgument, "LEAF has no parent to be merged into.")
                : throw new DiskException(ErrorKind.InvalidArgument, "--into-parent says what is merged into what; leave out --from and --to.");
        }

        return from is { } first && to is { } last
            ? (first, last)
            : throw new DiskException(ErrorKind.InvalidArgument, "what is to be merged? Add --into-parent, or --from N and --to M with numbers of images as info shows them.");
    }
}
