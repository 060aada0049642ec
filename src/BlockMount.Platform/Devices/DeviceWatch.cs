using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Devices;

/// <summary>Asks the host what a device is now; 0, or -errno when it is not there any more.</summary>
internal delegate int DeviceLook(out DeviceState state);

/// <summary>
/// Notices that an open device is no longer what was opened: gone, of another size, or with another medium in it. From then on every
/// operation fails at once with the same sentence; bytes of something else are never shown as the disk's, nor is anything written there.
/// </summary>
/// <param name="name">The device in sentences.</param>
/// <param name="opened">What it was when it was opened.</param>
/// <param name="look">Never blocks.</param>
internal sealed class DeviceWatch(string name, DeviceState opened, DeviceLook look)
{
    private const int MillisecondsBetweenLooks = 100;

    private long _nextLook = Environment.TickCount64 + MillisecondsBetweenLooks;
    private string? _end;

    /// <summary>For the start of an operation: looks when the last look is 100 ms ago.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Io"/> when it is not to be used any further.</exception>
    public void Check()
    {
        if (Environment.TickCount64 >= Volatile.Read(ref _nextLook))
        {
            Look();
        }
        else
        {
            ThrowIfEnded();
        }
    }

    /// <summary>Looks now.</summary>
    /// <exception cref="DiskException">As <see cref="Check"/>.</exception>
    public void Look()
    {
        if (Volatile.Read(ref _end) is null)
        {
            Volatile.Write(ref _nextLook, Environment.TickCount64 + MillisecondsBetweenLooks);
            if (Difference() is { } difference)
            {
                _ = Interlocked.CompareExchange(ref _end, difference, null);
            }
        }

        ThrowIfEnded();
    }

    /// <summary>The reason behind a failure when the device is no longer what it was, else the failure itself.</summary>
    public DiskException Explain(DiskException failure)
    {
        if (failure.Kind == ErrorKind.ShuttingDown)
        {
            return failure;
        }

        try
        {
            Look();
            return failure;
        }
        catch (DiskException reason)
        {
            return reason;
        }
    }

    private string? Difference()
    {
        var result = look(out var now);
        if (result < 0)
        {
            return $"the device is gone ({HostErrors.TextOf(result)})";
        }

        if (now.Bytes != opened.Bytes)
        {
            return now.Bytes == 0
                ? "the device is gone, or has lost its medium"
                : $"the device has changed its size from {opened.Bytes} to {now.Bytes} bytes";
        }

        if (now.LogicalSector != opened.LogicalSector)
        {
            return $"the device has changed its sectors from {opened.LogicalSector} to {now.LogicalSector} bytes";
        }

        return now.Sequence != opened.Sequence && now.Sequence != 0 && opened.Sequence != 0 ? "the device holds another medium now" : null;
    }

    private void ThrowIfEnded()
    {
        if (Volatile.Read(ref _end) is { } end)
        {
            throw new DiskException(ErrorKind.Io, $"{name}: {end}; it is not used any further.") { Path = name };
        }
    }
}
