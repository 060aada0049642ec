using System.Collections.Concurrent;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using Microsoft.Extensions.Logging;

namespace BlockMount.Nbd.Tests;

/// <summary>Who may connect is settled by the credentials that the kernel tells, before a byte is exchanged.</summary>
public sealed class AllowedUserTests
{
    [Fact]
    public async Task Others_are_closed_without_a_greeting_and_told_of_once()
    {
        var log = new ListLog();
        await using var server = new TestServer(new MemoryDevice(1 << 20), new NbdServerOptions { AllowedUsers = new HashSet<uint> { OwnUser() + 1 } }, log);
        for (var i = 0; i < 5; i++)
        {
            using var client = server.Connect();
            Assert.True(client.IsClosed());
        }

        Assert.Single(log.Lines, line => line.Contains($"uid {OwnUser()}: refused, only users {OwnUser() + 1} may connect", StringComparison.Ordinal));
        Assert.Equal(0, server.Server.OpenConnections);
    }

    [Fact]
    public async Task Those_who_are_named_are_served()
    {
        var log = new ListLog();
        await using var server = new TestServer(new MemoryDevice(1 << 20), new NbdServerOptions { AllowedUsers = new HashSet<uint> { OwnUser() } }, log);
        using var client = server.Go();

        client.AssertInStep();
        Assert.DoesNotContain(log.Lines, line => line.Contains("refused", StringComparison.Ordinal));
    }

    private static uint OwnUser() =>
        uint.Parse(File.ReadLines("/proc/self/status").First(l => l.StartsWith("Uid:", StringComparison.Ordinal)).Split('\t')[2]);

    private sealed class ListLog : ILogger<NbdServer>
    {
        public ConcurrentQueue<string> Lines { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Lines.Enqueue(formatter(state, exception));
    }
}
