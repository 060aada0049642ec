using BlockMount.Core.Errors;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>Stands for an image that could not be opened again in the middle of an operation: every use of it tells why.</summary>
/// <param name="lost">The closed image.</param>
/// <param name="description">What it said of itself while it was open.</param>
/// <param name="why">Why it is closed.</param>
internal sealed class LostLayer(ImageLayer lost, ImageDescription description, Exception why) : ImageLayer(lost.Path, lost.Capacity, lost.UnitSize, lost.CanWrite)
{
    public override IReadOnlyList<string> Files { get; } = lost.Files;

    public override ImageIdentity Identity => description.Identity;

    public override ParentLink? Parent => description.Parent;

    public override ImageDescription Describe() => description;

    public override ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken) => throw Lost();

    public override ValueTask BeginWritingAsync(bool contentChanges, CancellationToken cancellationToken) => throw Lost();

    public override ValueTask<Reservation> ReserveAsync(long offset, CancellationToken cancellationToken) => throw Lost();

    public override void Commit(in Reservation reservation) => throw Lost();

    public override void Abandon(in Reservation reservation) => throw Lost();

    public override bool TryMarkZero(long unitStart) => throw Lost();

    public override ValueTask FlushAsync(CancellationToken cancellationToken) => throw Lost();

    public override ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private DiskException Lost() => DiskErrors.PreviousFailure(Path, why);
}
