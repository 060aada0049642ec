using BlockMount.Core.Devices;

namespace BlockMount.Nbd.Tests.Support;

/// <summary>Every other sector is a hole: the most extents that a disk can have.</summary>
internal sealed class AlternatingDevice(long length) : FakeDevice(length)
{
    protected override DiskExtent Map(long offset, long length)
    {
        var isData = (offset / 512 % 2) == 0;
        return new DiskExtent(offset, Math.Min(512 - (offset % 512), length), isData, !isData, isData ? 0 : -1, null, null);
    }
}
