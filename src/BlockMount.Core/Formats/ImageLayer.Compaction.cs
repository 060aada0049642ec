namespace BlockMount.Core.Formats;

/// <content>
/// Making the image's files smaller while its disk stays as it is. <see cref="BeginWritingAsync"/> comes before any of it, and nobody reads or writes a
/// unit while it is released or moved. File space that becomes free is used again only after the <see cref="FlushAsync"/> that makes the change
/// durable (rules D1 and D4).
/// </content>
public abstract partial class ImageLayer
{
    /// <summary>Whether units can be given back at all: not in a kind of image that keeps the space of its whole disk.</summary>
    public virtual bool CanCompact => false;

    /// <summary>Whether space waits for a flush to be free, so that a reservation that failed for want of space may succeed after one.</summary>
    public virtual bool HasUnflushedRoom => false;

    /// <summary>Whether <see cref="CutAsync"/> would change anything.</summary>
    public virtual bool CanCut => false;

    /// <summary>Whether <see cref="TryRelease"/> would release the unit that starts at <paramref name="unitStart"/>.</summary>
    public virtual bool CanRelease(long unitStart, bool asZero) => false;

    /// <summary>Gives the space of a unit back, at once for readers and durably with the next <see cref="FlushAsync"/>.</summary>
    /// <param name="unitStart">First byte of a unit that has space.</param>
    /// <param name="asZero">Whether the unit becomes the marker for zeros; else the parent decides what it holds, and without one it is zero.</param>
    /// <returns>False when this part of the image keeps its space, or the format has no such marker.</returns>
    public virtual bool TryRelease(long unitStart, bool asZero) => false;

    /// <summary>
    /// Units that lie highest in their file, for as many of them as there are free places below; a bounded number, so that empty alone means that
    /// nothing can move.
    /// </summary>
    public virtual ValueTask<IReadOnlyList<long>> FindMovableAsync(CancellationToken cancellationToken) => new([]);

    /// <summary>
    /// Sets a free place nearer to the start of the file aside for a unit that has space, to be filled with the bytes that the image holds of it
    /// (<see cref="RunKind.Data"/>) and committed or abandoned like any reservation. Its old place is free after the flush that follows.
    /// </summary>
    /// <returns>Null when there is no such place.</returns>
    /// <exception cref="Errors.DiskException">The host failed. Nothing has changed then.</exception>
    public virtual ValueTask<Reservation?> ReserveLowerAsync(long unitStart, CancellationToken cancellationToken) => new((Reservation?)null);

    /// <summary>Gives the end of the files, behind what is used or waits for a flush, back to the host, durably. No flush runs meanwhile.</summary>
    /// <exception cref="Errors.DiskException">The host failed; the chain then latches (rule D3).</exception>
    public virtual ValueTask CutAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
}
