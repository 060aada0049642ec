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

    protected override ValueTask<Func<IProgress<long>?, CancellationToken, ValueTask>> PlanResizeAsync(long capacity, CancellationToken cancellationToken)
    {
        ResizeRules.Require(Store.Name, Store.LogicalSectorSize == 1, "it is a block device, whose size is its own.");
        return new(async (_, _) =>
        {
            await Store.SetLengthAsync(capacity, CancellationToken.None);
            await Store.FlushAsync(CancellationToken.None);
        });
    }

    /// <summary>A raw file has no place to record a change.</summary>
    public override ValueTask BeginWritingAsync(bool contentChanges, CancellationToken cancellationToken) => ValueTask.CompletedTask;
}
