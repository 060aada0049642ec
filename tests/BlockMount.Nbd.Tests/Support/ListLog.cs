using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace BlockMount.Nbd.Tests.Support;

/// <summary>Keeps what the server complains about.</summary>
internal sealed class ListLog : ILogger<NbdServer>
{
    /// <summary>Warnings and what is worse.</summary>
    public ConcurrentQueue<string> Warnings { get; } = new();

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (logLevel >= LogLevel.Warning)
        {
            Warnings.Enqueue($"{formatter(state, exception)} {exception}");
        }
    }
}
