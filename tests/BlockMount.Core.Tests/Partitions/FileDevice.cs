using BlockMount.Core.Devices;
using Microsoft.Win32.SafeHandles;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>A file or block device as a disk, for reading what tools have made.</summary>
internal sealed class FileDevice : BlockDevice
{
    private readonly SafeFileHandle _handle;

    private FileDevice(SafeFileHandle handle, string path, long length)
        : base(path, length, isReadOnly: true) => _handle = handle;

    /// <param name="path">File or block device.</param>
    /// <param name="length">Bytes, which the host does not tell for a block device; null for those of the file.</param>
    public static FileDevice Open(string path, long? length = null)
    {
        var handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        return new FileDevice(handle, path, length ?? RandomAccess.GetLength(handle));
    }

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        Assert.Equal(buffer.Length, RandomAccess.Read(_handle, buffer.Span, offset));
        return ValueTask.CompletedTask;
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    protected override ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    protected override ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    protected override ValueTask DisposeCoreAsync()
    {
        _handle.Dispose();
        return ValueTask.CompletedTask;
    }
}
