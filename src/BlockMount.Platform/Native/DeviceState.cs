using System.Runtime.InteropServices;

namespace BlockMount.Platform.Native;

/// <summary>What a block device is at one moment; laid out as <c>struct bm_device_facts</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct DeviceState
{
    public readonly ulong Bytes;

    /// <summary>Another number for another medium; 0 where the kernel does not number them.</summary>
    public readonly ulong Sequence;

    /// <summary>Bytes.</summary>
    public readonly uint LogicalSector;

    /// <summary>Bytes, at least <see cref="LogicalSector"/>.</summary>
    public readonly uint PhysicalSector;

    /// <summary>1 when the host refuses writes, however the device was opened.</summary>
    public readonly uint ReadOnly;

    private readonly uint _reserved;

    /// <summary>As a kernel would tell it.</summary>
    public DeviceState(ulong bytes, ulong sequence, uint logicalSector, uint physicalSector, uint readOnly)
    {
        Bytes = bytes;
        Sequence = sequence;
        LogicalSector = logicalSector;
        PhysicalSector = physicalSector;
        ReadOnly = readOnly;
        _reserved = 0;
    }
}
