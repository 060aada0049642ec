namespace BlockMount.Core.Formats;

/// <summary>Changes that were answered as done and thrown away.</summary>
/// <param name="Count">Requests, or parts of those that went elsewhere as well.</param>
/// <param name="Bytes">Bytes of them.</param>
public readonly record struct DroppedWrites(long Count, long Bytes)
{
    public static DroppedWrites operator +(DroppedWrites left, DroppedWrites right) => Add(left, right);

    public static DroppedWrites Add(DroppedWrites left, DroppedWrites right) => new(left.Count + right.Count, left.Bytes + right.Bytes);
}
