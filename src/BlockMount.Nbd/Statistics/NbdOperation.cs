namespace BlockMount.Nbd.Statistics;

/// <summary>Kinds of requests, numbered as the protocol does; those that it does not know are <see cref="Other"/>.</summary>
public enum NbdOperation
{
    Read = 0,
    Write = 1,
    Other = 2,
    Flush = 3,
    Trim = 4,
    Cache = 5,
    Zero = 6,
    Status = 7,
}
