namespace BlockMount.Host.Hosting;

/// <summary>Numbers that several commands share.</summary>
internal static class ServeDefaults
{
    /// <summary>How long a change may stay unflushed when nobody flushes.</summary>
    public static readonly TimeSpan FlushInterval = TimeSpan.FromSeconds(5);

    /// <summary>Clients that may be connected to one host.</summary>
    public const int MaxConnections = 64;
}
