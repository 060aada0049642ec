using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <content>Content that the leaf takes over from its parents; the disk stays as it is.</content>
public sealed partial class DiskChain
{
    /// <summary>
    /// Makes the leaf hold, in a range, what its parents show there and it does not hold itself, in whole allocation units. Readers and writers may
    /// go on meanwhile.
    /// </summary>
    /// <exception cref="Errors.DiskException">No space, or the host failed.</exception>
    internal async ValueTask AdoptAsync(long offset, long length, CancellationToken cancellationToken)
    {
        _leaf.RequireWritable(offset, length, sparesZeros: false);
        await BeginMovingAsync(cancellationToken);
        try
        {
            while (length > 0)
            {
                var part = Math.Min(length, UnitEnd(offset) - offset);
                await AdoptInUnitAsync(offset, part, cancellationToken);
                offset += part;
                length -= part;
            }
        }
        finally
        {
            _dirty = true;
        }
    }

    /// <summary>The same disk with other images below the leaf, or above the old one; everything must have been flushed, and nothing be under way.</summary>
    internal DiskChain With(IReadOnlyList<ImageLayer> layers) => new(layers, _contentChanges)
    {
        _writing = _writing && ReferenceEquals(layers[^1], _leaf),
        _failure = _failure,
    };

    /// <summary>Forgets which of the parents decides a range, after one of them took or gave back content there. Nobody uses the range meanwhile.</summary>
    internal void ForgetParents(long offset, long length) => _parents.Forget(offset, length);

    private async ValueTask AdoptInUnitAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var gate = Gate(offset);
        await gate.WaitAsync(cancellationToken);
        try
        {
            while (length > 0)
            {
                var run = await _leaf.ResolveAsync(offset, length, cancellationToken);
                if (run.Kind == RunKind.Parent)
                {
                    var isWholeUnit = offset == UnitStart(offset) && offset + run.Length == UnitEnd(offset);
                    if (!isWholeUnit || !await ParentsAreZeroAsync(offset, run.Length, cancellationToken) || !_leaf.TryMarkZero(offset))
                    {
                        await AllocateAsync(offset, 0, fillFromParents: true, static (_, _) => ValueTask.CompletedTask, cancellationToken);
                    }
                }

                offset += run.Length;
                length -= run.Length;
            }
        }
        finally
        {
            gate.Release();
        }
    }
}
