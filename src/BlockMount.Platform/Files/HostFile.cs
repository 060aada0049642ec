using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Files;

/// <summary>
/// Blocking positional operations on one open file or block device, each complete or an exception. What the file system refuses
/// is remembered and not asked again.
/// </summary>
/// <remarks>Unsafe code here is safe because every buffer is pinned, by the caller or a <c>fixed</c>, for the length it is used with.</remarks>
internal sealed unsafe class HostFile(DescriptorHandle handle, string name, FileFacts facts, bool inMemory, bool isDirect) : IDisposable
{
    private const int ZeroPieceBytes = 1 << 20;
    private static readonly byte[] ZeroPiece = GC.AllocateArray<byte>(ZeroPieceBytes, pinned: true);

    /// <summary>What error sentences call it: its path.</summary>
    public string Name { get; } = name;

    /// <summary>As they were when it was opened.</summary>
    public FileFacts Facts { get; } = facts;

    public bool IsDevice => Facts.Type == FileType.BlockDevice;

    /// <summary>Whether reads and writes go past the page cache, and have to be aligned.</summary>
    public bool IsDirect { get; } = isDirect;

    /// <summary>
    /// Whether <see cref="ReadCached"/> is of use: the file system tells cached bytes from others (RWF_NOWAIT), or has no others.
    /// </summary>
    public bool CanReadCached { get; set; } = true;

    public bool CanPunchHoles { get; set; } = true;

    /// <summary>Whether <see cref="CanPunchHoles"/> is the file system's answer and not a guess.</summary>
    public bool IsPunchingKnown { get; set; }

    public bool CanZeroRanges { get; set; } = true;

    public bool CanAllocate { get; set; } = true;

    /// <summary>Finds the reason behind a failure where there may be another than the call's; never blocks.</summary>
    public Func<DiskException, DiskException> Explain { get; set; } = static failure => failure;

    /// <summary>The same open file under the name that it has now; whoever closes one closes both.</summary>
    public HostFile Renamed(string newName) => new(handle, newName, Facts, inMemory, IsDirect);

    /// <summary>Present size in bytes.</summary>
    public long Size()
    {
        if (IsDevice)
        {
            return checked((long)DeviceState().Bytes);
        }

        var descriptor = handle.Enter();
        try
        {
            FileFacts now;
            var result = Shim.FactsOfDescriptor(descriptor, &now);
            return result < 0 ? throw HostErrors.Operation(result, Name, "reading its size") : checked((long)now.Size);
        }
        finally
        {
            handle.Leave();
        }
    }

    /// <summary>What the block device is now.</summary>
    public DeviceState DeviceState()
    {
        var result = TryDeviceState(out var state);
        return result < 0 ? throw HostErrors.Operation(result, Name, "reading its size") : state;
    }

    /// <summary>What the block device is now; 0 or -errno.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.ShuttingDown"/> when it is closed.</exception>
    public int TryDeviceState(out DeviceState state)
    {
        int descriptor;
        try
        {
            descriptor = handle.Enter();
        }
        catch (ObjectDisposedException)
        {
            throw DiskErrors.Closed(Name);
        }

        try
        {
            // Safe: the local's own address, for the call.
            DeviceState now;
            var result = Shim.Device(descriptor, &now);
            state = result < 0 ? default : now;
            return result;
        }
        finally
        {
            handle.Leave();
        }
    }

    /// <summary>Bytes that the addresses of buffers are multiples of in direct I/O.</summary>
    /// <param name="unknown">What to assume where the kernel does not tell.</param>
    public int DirectAlignment(int unknown)
    {
        var descriptor = handle.Enter();
        try
        {
            var result = Shim.DirectAlignment(descriptor);
            return result > 0 ? result : unknown;
        }
        finally
        {
            handle.Leave();
        }
    }

    /// <summary>Whether the block device gave the sectors back; false when it has no such operation.</summary>
    public bool TryDiscard(long offset, long length)
    {
        var descriptor = handle.Enter();
        try
        {
            var result = Shim.Discard(descriptor, offset, length);
            return result >= 0
                || (HostErrors.IsUnsupported(result) ? false : throw HostErrors.Operation(result, Name, "trim", offset, length));
        }
        finally
        {
            handle.Leave();
        }
    }

    /// <summary>Reads what is cached; the bytes done, possibly 0, or -errno.</summary>
    public long ReadCached(long offset, byte* buffer, int length)
    {
        var descriptor = handle.Enter();
        try
        {
            // tmpfs refuses RWF_NOWAIT, and has no disk to wait for.
            return inMemory
                ? Shim.Read(descriptor, buffer, (ulong)length, offset)
                : Shim.ReadNoWait(descriptor, buffer, (ulong)length, offset);
        }
        finally
        {
            handle.Leave();
        }
    }

    /// <summary>Reads all of it.</summary>
    public void Read(long offset, byte* buffer, long length)
    {
        var descriptor = handle.Enter();
        try
        {
            for (long done = 0; done < length;)
            {
                var result = Shim.Read(descriptor, buffer + done, (ulong)(length - done), offset + done);
                if (result < 0)
                {
                    throw HostErrors.Operation(result, Name, "read", offset + done, length - done);
                }

                if (result == 0)
                {
                    throw HostErrors.EndOfFile(Name, offset, length, Size());
                }

                done += result;
            }
        }
        finally
        {
            handle.Leave();
        }
    }

    /// <summary>Writes all of it.</summary>
    public void Write(long offset, byte* data, long length)
    {
        var descriptor = handle.Enter();
        try
        {
            for (long done = 0; done < length;)
            {
                var result = Shim.Write(descriptor, data + done, (ulong)(length - done), offset + done);
                if (result < 0)
                {
                    throw HostErrors.Operation(result, Name, "write", offset + done, length - done);
                }

                if (result == 0)
                {
                    throw new DiskException(ErrorKind.Io, $"{Name}: the host wrote none of {length - done} bytes at offset {offset + done}.")
                    { Path = Name, Offset = offset + done };
                }

                done += result;
            }
        }
        finally
        {
            handle.Leave();
        }
    }

    /// <summary>Writes zeros in pieces, so that a cancellation is noticed.</summary>
    public void WriteZeros(long offset, long length, CancellationToken cancellation)
    {
        fixed (byte* zeros = ZeroPiece)
        {
            for (long done = 0; done < length;)
            {
                cancellation.ThrowIfCancellationRequested();
                var piece = Math.Min(length - done, ZeroPieceBytes);
                Write(offset + done, zeros, piece);
                done += piece;
            }
        }
    }

    /// <summary>Makes everything written so far durable.</summary>
    public void Flush() => Run("flush", 0, static (descriptor, _) => Shim.SyncData(descriptor));

    public void SetLength(long length) => Run($"resize to {length} bytes", length, Shim.SetLength);

    /// <summary>Whether the file system did it; false when it lacks the operation.</summary>
    public bool TryAllocate(AllocateMode mode, string operation, long offset, long length)
    {
        var descriptor = handle.Enter();
        try
        {
            var result = Shim.Allocate(descriptor, mode, offset, length);
            return result >= 0
                || (HostErrors.IsUnsupported(result) ? false : throw HostErrors.Operation(result, Name, operation, offset, length));
        }
        finally
        {
            handle.Leave();
        }
    }

    /// <summary>The run at an offset inside the file, cut to <paramref name="length"/>.</summary>
    public StoreExtent Map(long offset, long length)
    {
        var descriptor = handle.Enter();
        try
        {
            var data = Shim.Seek(descriptor, SeekKind.Data, offset);
            if (data < 0)
            {
                return HostErrors.KindOf(data) switch
                {
                    // Also said of an offset behind the end. What a file lost by being cut off is no hole: reading it has to fail.
                    HostErrorKind.NoData => Size() - offset is var left and > 0 ? new(Math.Min(left, length), IsHole: true) : new(length, IsHole: false),
                    HostErrorKind.Unsupported or HostErrorKind.Invalid => new(length, IsHole: false),
                    _ => throw HostErrors.Operation(data, Name, "map", offset, length),
                };
            }

            if (data > offset)
            {
                return new(Math.Min(data - offset, length), IsHole: true);
            }

            // At least one byte is data even when the file changes between the two calls.
            var hole = Shim.Seek(descriptor, SeekKind.Hole, offset);
            return new(hole > offset ? Math.Min(hole - offset, length) : length, IsHole: false);
        }
        finally
        {
            handle.Leave();
        }
    }

    /// <summary>Asks the kernel to forget clean pages, so that the next read goes to the disk.</summary>
    public void DropCache() => Run("dropping its cache", 0, static (descriptor, _) => Shim.DropCache(descriptor));

    /// <summary>The descriptor, which stays open until <see cref="Release"/>, for a call that completes later.</summary>
    /// <exception cref="ObjectDisposedException">It is closed.</exception>
    public int Hold() => handle.Enter();

    public void Release() => handle.Leave();

    public void Dispose() => handle.Dispose();

    private void Run(string operation, long argument, Func<int, long, int> call)
    {
        var descriptor = handle.Enter();
        try
        {
            var result = call(descriptor, argument);
            if (result < 0)
            {
                throw HostErrors.Operation(result, Name, operation);
            }
        }
        finally
        {
            handle.Leave();
        }
    }
}
