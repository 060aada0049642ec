namespace BlockMount.Nbd.Transports;

/// <summary>How a receive ended.</summary>
public enum ReceiveResult
{
    /// <summary>Bytes came.</summary>
    Data,

    /// <summary>No byte came within the time limit; the next receive goes on where this one stopped.</summary>
    TimedOut,

    /// <summary>The peer sends no more, or is gone.</summary>
    End,
}
