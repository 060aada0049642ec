using System.Runtime.InteropServices;

namespace BlockMount.Platform.Native;

/// <summary>Mirrors struct bm_completion of native-shims/bm_shim.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RingCompletion
{
    /// <summary>What the operation was queued with.</summary>
    public ulong Tag;

    /// <summary>Bytes or events, or -errno.</summary>
    public int Result;

    public uint Reserved;
}
