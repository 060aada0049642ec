using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace BlockMount.Nbd.Tests.Support;

/// <summary>Keeps what a server logs from a level on.</summary>
internal sealed class KeptLog(LogLevel least) : ILogger<NbdServer>
{
    public ConcurrentQueue<string> Lines { get; } = new();

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= least;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
        {
            Lines.Enqueue($"{formatter(state, exception)} {exception}".TrimEnd());
        }
    }
}
