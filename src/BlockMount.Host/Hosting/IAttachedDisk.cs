namespace BlockMount.Host.Hosting;

/// <summary>A disk as a block device of this host, with all that keeps it there.</summary>
internal interface IAttachedDisk : IAsyncDisposable
{
    /// <summary>As <c>/dev/nbd3</c>.</summary>
    string Device { get; }

    /// <summary>How the disk comes there: <c>nbd</c> or <c>loop</c>.</summary>
    string Via { get; }

    /// <summary>Bytes of the disk.</summary>
    long Capacity { get; }

    bool IsReadOnly { get; }

    /// <summary>Bytes of a logical sector of the device.</summary>
    int BlockSize { get; }

    /// <summary>Between the kernel and this process.</summary>
    int Connections { get; }

    /// <summary>Sentences for the user.</summary>
    IReadOnlyList<string> Notes { get; }

    /// <summary>Whether the device was there, waiting for a host.</summary>
    bool IsTakenOver { get; }

    /// <summary>What others may ask.</summary>
    HostControl Control { get; }

    /// <summary>Ends when nothing is open any more; fails with what went wrong at the end.</summary>
    Task Completion { get; }

    /// <summary>Detaches the device and closes everything.</summary>
    /// <exception cref="Core.Errors.DiskException"><see cref="Core.Errors.ErrorKind.Busy"/>, naming who uses it; or the last flush failed.</exception>
    Task DetachAsync();
}
