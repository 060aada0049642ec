using System.Runtime.InteropServices;

namespace BlockMount.Platform.Native;

/// <summary>
/// An open file descriptor. Every call on it goes through <see cref="Enter"/> and <see cref="Leave"/>, so that a close during a
/// call waits for the call: otherwise the number could be reused and a write could land in somebody else's file.
/// </summary>
internal sealed class DescriptorHandle : SafeHandle
{
    public DescriptorHandle(int descriptor)
        : base(-1, ownsHandle: true) => SetHandle(descriptor);

    public override bool IsInvalid => handle < 0;

    /// <summary>The number, valid until <see cref="Leave"/>.</summary>
    /// <exception cref="ObjectDisposedException">It is closed.</exception>
    public int Enter()
    {
        var entered = false;
        DangerousAddRef(ref entered);
        return (int)handle;
    }

    public void Leave() => DangerousRelease();

    protected override bool ReleaseHandle()
    {
        // A child between fork and exec shares the open file for a moment and with it the locks, which a close alone would leave held.
        _ = Shim.Lock((int)handle, LockKind.None, 0, 0);
        return Shim.Close((int)handle) == 0;
    }
}
