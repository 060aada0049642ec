namespace BlockMount.Host.Hosting;

/// <summary>Numbers that several commands share.</summary>
internal static class ServeDefaults
{
    /// <summary>How long a change may stay unflushed when nobody flushes.</summary>
    public static readonly TimeSpan FlushInterval = TimeSpan.FromSeconds(5);

    /// <summary>How long a device of the kernel waits at least: this process itself replaces connections that the kernel gives up because an answer is late.</summary>
    public static readonly TimeSpan LeastReconnectTime = TimeSpan.FromSeconds(10);

    /// <summary>How long clients may take to finish when their export or their host ends.</summary>
    public static readonly TimeSpan DrainTime = TimeSpan.FromSeconds(10);

    /// <summary>Clients that may be connected to one host.</summary>
    public const int MaxConnections = 64;
}
