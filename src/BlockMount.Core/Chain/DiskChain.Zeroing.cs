using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <content>Whether zeroing takes no writing of content: what <see cref="ZeroCoreAsync"/> would do, decided without doing any of it.</content>
public sealed partial class DiskChain
{
    protected override async ValueTask<bool> CanZeroFastCoreAsync(
        long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        ThrowIfLatched();

        // Space that must stay is made or written by a host in ways that it does not tell beforehand.
        if (keepAllocated)
        {
            return false;
        }

        while (length > 0)
        {
            var run = await _leaf.ResolveAsync(offset, length, cancellationToken);
            var done = run.Length;
            if (run.Kind == RunKind.Data)
            {
                if (_leaf.KeepsAllocation || !await run.Store!.CanZeroFastAsync(cancellationToken))
                {
                    return false;
                }
            }
            else if (run.Kind == RunKind.Parent && !_parents.IsEmpty)
            {
                done = Math.Min(done, UnitEnd(offset) - offset);
                var isWholeUnit = offset == UnitStart(offset) && offset + done == UnitEnd(offset);
                if (!(isWholeUnit && _leaf.CanMarkZero(offset)) && !await ParentsAreZeroAsync(offset, done, cancellationToken))
                {
                    return false;
                }
            }

            offset += done;
            length -= done;
        }

        return true;
    }
}
