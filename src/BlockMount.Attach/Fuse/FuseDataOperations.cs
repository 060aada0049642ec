using BlockMount.Core.Devices;
using static BlockMount.Attach.Fuse.FuseConstants;

namespace BlockMount.Attach.Fuse;

/// <summary>
/// Requests that reach a device. Each is answered at once when the device has the bytes at hand, otherwise from the device's
/// completion while the receiving thread goes on.
/// </summary>
internal static class FuseDataOperations
{
    public static void Read(FuseWorker worker, FuseRequest request, VirtualFile file, long offset, long size)
    {
        // Bytes past the end do not exist: reading there is end of file, and only there is a read shorter than asked for.
        var count = (int)Math.Clamp(file.Length - offset, 0, Math.Min(size, int.MaxValue / 2));
        if (file.Device is not { } device)
        {
            request.Data(count == 0 ? [] : file.Content.Span.Slice((int)offset, count));
            return;
        }

        if (count == 0)
        {
            request.Data([]);
            return;
        }

        // A device with sectors is read in whole sectors, so that any program may look at any byte.
        var mask = device.Alignment - 1L;
        var start = offset & ~mask;
        var end = Math.Min((offset + count + mask) & ~mask, device.Length);
        var buffer = worker.ReplyBuffer((int)(end - start));
        var skip = (int)(offset - start);
        var read = device.ReadAsync(start, buffer.Memory[..(int)(end - start)]);
        if (read.IsCompleted)
        {
            read.GetAwaiter().GetResult();
            request.Data(buffer, skip, count);
        }
        else
        {
            worker.HandOverReplyBuffer();
            _ = FinishReadAsync(read, request, buffer, skip, count);
        }
    }

    public static void Write(FuseWorker worker, FuseRequest request, VirtualFile file, int at, long offset, int count)
    {
        if (file.Device is not { } device)
        {
            request.Error(EROFS);
            return;
        }

        var buffer = worker.ReceivedBuffer;
        var write = device.WriteAsync(offset, buffer.Memory.Slice(at, count));
        if (write.IsCompleted)
        {
            write.GetAwaiter().GetResult();
            request.Written(count);
        }
        else
        {
            worker.HandOverReceivedBuffer();
            _ = FinishWriteAsync(write, request, buffer, count);
        }
    }

    public static void Sync(FuseWorker worker, FuseRequest request, VirtualFile file)
    {
        if (file.Device is { } device)
        {
            Finish(worker, request, "fsync", device.FlushAsync());
        }
        else
        {
            request.Done();
        }
    }

    public static void Allocate(FuseWorker worker, FuseRequest request, VirtualFile file, int mode, long offset, long length)
    {
        if (file.Device is not { } device || file.IsReadOnly)
        {
            request.Error(EROFS);
            return;
        }

        var keepsSize = (mode & FALLOC_FL_KEEP_SIZE) != 0;
        WriteOptions? options = (mode & ~FALLOC_FL_KEEP_SIZE) switch
        {
            FALLOC_FL_PUNCH_HOLE when keepsSize => WriteOptions.None,
            FALLOC_FL_ZERO_RANGE => WriteOptions.KeepAllocated,
            _ => null,
        };
        if (options is not { } how)
        {
            request.Error(EOPNOTSUPP);
        }
        else if (offset < 0 || length <= 0)
        {
            request.Error(EINVAL);
        }
        else if (!keepsSize && (offset > file.Length || length > file.Length - offset))
        {
            request.Error(ENOSPC);
        }
        else
        {
            // With the size kept, the part of the range behind the end holds nothing to zero.
            Finish(worker, request, "zeroing", device.ZeroAsync(Math.Min(offset, file.Length), Math.Clamp(file.Length - offset, 0, length), how));
        }
    }

    public static void Seek(FuseWorker worker, FuseRequest request, VirtualFile file, long offset, int whence)
    {
        if (whence is not (SEEK_DATA or SEEK_HOLE))
        {
            request.Error(EINVAL);
        }
        else if (offset < 0 || offset >= file.Length)
        {
            request.Error(ENXIO);
        }
        else if (file.Device is not { } device)
        {
            request.Position(whence == SEEK_DATA ? offset : file.Length);
        }
        else
        {
            var found = FindAsync(device, offset, wantsHole: whence == SEEK_HOLE);
            if (found.IsCompleted)
            {
                AnswerSeek(request, found.GetAwaiter().GetResult());
            }
            else
            {
                worker.StartPending();
                _ = FinishSeekAsync(found, request);
            }
        }
    }

    /// <summary>The first byte from <paramref name="offset"/> on that is (not) known to be zero; the end counts as a hole, -1 is no data.</summary>
    private static async ValueTask<long> FindAsync(BlockDevice device, long offset, bool wantsHole)
    {
        while (offset < device.Length)
        {
            var run = await device.MapAsync(offset, device.Length - offset);
            if (run.IsZero == wantsHole)
            {
                return offset;
            }

            offset = run.End;
        }

        return wantsHole ? device.Length : -1;
    }

    private static void AnswerSeek(FuseRequest request, long position)
    {
        if (position < 0)
        {
            request.Error(ENXIO);
        }
        else
        {
            request.Position(position);
        }
    }

    private static void Finish(FuseWorker worker, FuseRequest request, string operation, ValueTask work)
    {
        if (work.IsCompleted)
        {
            work.GetAwaiter().GetResult();
            request.Done();
        }
        else
        {
            worker.StartPending();
            _ = FinishAsync(work, request, operation);
        }
    }

    private static async Task FinishAsync(ValueTask work, FuseRequest request, string operation)
    {
        if (await FailureOfAsync(work) is { } error)
        {
            request.Fail(operation, error);
        }
        else
        {
            request.Done();
        }

        request.Session.EndPending();
    }

    private static async Task FinishReadAsync(ValueTask read, FuseRequest request, NativeBuffer buffer, int skip, int count)
    {
        if (await FailureOfAsync(read) is { } error)
        {
            request.Fail("read", error);
        }
        else
        {
            request.Data(buffer, skip, count);
        }

        request.Session.ReplyBuffers.Return(buffer);
        request.Session.EndPending();
    }

    private static async Task FinishWriteAsync(ValueTask write, FuseRequest request, NativeBuffer buffer, int count)
    {
        if (await FailureOfAsync(write) is { } error)
        {
            request.Fail("write", error);
        }
        else
        {
            request.Written(count);
        }

        request.Session.ReceiveBuffers.Return(buffer);
        request.Session.EndPending();
    }

    private static async Task FinishSeekAsync(ValueTask<long> found, FuseRequest request)
    {
        var position = -1L;
        if (await FailureOfAsync(StoreAsync()) is { } error)
        {
            request.Fail("seek", error);
        }
        else
        {
            AnswerSeek(request, position);
        }

        request.Session.EndPending();

        async ValueTask StoreAsync() => position = await found;
    }

    /// <summary>Null when the work succeeded. Keeps the answer out of the try block: a request is answered once.</summary>
    private static async ValueTask<Exception?> FailureOfAsync(ValueTask work)
    {
        try
        {
            await work;
            return null;
        }
        catch (Exception error)
        {
            return error;
        }
    }
}
