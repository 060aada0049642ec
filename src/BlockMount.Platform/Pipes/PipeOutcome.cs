namespace BlockMount.Platform.Pipes;

/// <summary>How a read or write of a <see cref="PipePair"/> ended.</summary>
public enum PipeOutcome
{
    /// <summary>Bytes went through.</summary>
    Done,

    /// <summary>None did within the time limit.</summary>
    TimedOut,

    /// <summary>The other side is gone, or this side was told to end.</summary>
    Ended,
}
