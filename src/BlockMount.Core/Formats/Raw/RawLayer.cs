using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Raw;

/// <summary>A store as an image: every byte is data at its own offset.</summary>
internal sealed class RawLayer(ByteStore store) : FlatLayer(store, store.Length)
{
    public override ImageIdentity Identity => default;

    public override ImageDescription Describe() => new()
    {
        Format = "raw",
        Variant = "raw",
        Capacity = Capacity,
        FileSize = Store.Length,
        BlockSize = 0,
        Allocated = Capacity,
    };

    /// <summary>A raw file has no place to record a change.</summary>
    public override ValueTask BeginWritingAsync(bool contentChanges, CancellationToken cancellationToken) => ValueTask.CompletedTask;
}
