namespace BlockMount.Core.Devices;

/// <summary>How a write, zero or trim is to be carried out.</summary>
[Flags]
public enum WriteOptions
{
    None = 0,

    /// <summary>The bytes are durable before the operation completes (NBD FUA).</summary>
    ForceUnitAccess = 1,

    /// <summary>Zeroing must leave file space allocated, so that a later write cannot run out of room (NBD NO_HOLE).</summary>
    KeepAllocated = 2,

    /// <summary>Zeroing is to fail with <see cref="Errors.ErrorKind.NotFast"/>, having changed nothing, unless it is faster than writing (NBD FAST_ZERO).</summary>
    FastOnly = 4,
}
