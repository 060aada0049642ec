using BlockMount.Core.Errors;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Files;

/// <summary>
/// Zeroing, giving back and reserving file space, with what to do where the file system lacks the operation. All of it may block.
/// </summary>
internal static class FileSpace
{
    /// <summary>Makes a range inside the file read as zero.</summary>
    public static void Zero(HostFile file, in BlockingRequest request)
    {
        if (!TryZero(file, request.Offset, request.Length, request.KeepAllocated))
        {
            file.WriteZeros(request.Offset, request.Length, request.Cancellation);
        }
    }

    /// <summary>
    /// Finds out whether the file system makes holes, by asking for one far behind the end of the file, where there is nothing and
    /// nothing can have come by the time of the call: the file would have to grow by a tebibyte between two system calls.
    /// </summary>
    public static void ProbePunching(HostFile file, in BlockingRequest request)
    {
        const long distance = 1L << 40;
        const long piece = 1L << 20;
        var offset = ((file.Size() + piece - 1) & -piece) + distance;
        try
        {
            file.CanPunchHoles = file.TryAllocate(AllocateMode.PunchHole, "looking for hole support", offset, piece);
            file.IsPunchingKnown = true;
        }
        catch (DiskException)
        {
            // The file system has no such offsets, for example. Nothing is known then, and nothing was changed.
        }
    }

    /// <summary>Gives space back where the host can, and does nothing where it cannot.</summary>
    public static void Discard(HostFile file, in BlockingRequest request)
    {
        if (file.CanPunchHoles)
        {
            file.CanPunchHoles = file.TryAllocate(AllocateMode.PunchHole, "trim", request.Offset, request.Length);
        }
    }

    /// <summary>
    /// Reserves space. Where the file system cannot, holes and new bytes are written with zeros, as far as it tells what is a
    /// hole; writes to the range must not be in flight then.
    /// </summary>
    public static void Allocate(HostFile file, in BlockingRequest request)
    {
        var end = request.Offset + request.Length;
        var size = file.Size();
        if (file.CanAllocate
            && (file.CanAllocate = file.TryAllocate(AllocateMode.Allocate, "allocation", request.Offset, request.Length)))
        {
            return;
        }

        for (var at = request.Offset; at < Math.Min(end, size);)
        {
            var run = file.Map(at, Math.Min(end, size) - at);
            if (run.IsHole)
            {
                file.WriteZeros(at, run.Length, request.Cancellation);
            }

            at += run.Length;
        }

        var added = Math.Max(request.Offset, size);
        if (added < end)
        {
            file.WriteZeros(added, end - added, request.Cancellation);
        }
    }

    private static bool TryZero(HostFile file, long offset, long length, bool keepAllocated)
    {
        if (!keepAllocated && file.CanPunchHoles
            && (file.CanPunchHoles = file.TryAllocate(AllocateMode.PunchHole, "zeroing", offset, length)))
        {
            return true;
        }

        return file.CanZeroRanges
            && (file.CanZeroRanges = file.TryAllocate(AllocateMode.ZeroRange, "zeroing", offset, length));
    }
}
