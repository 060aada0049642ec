using BlockMount.Host.Cli;
using BlockMount.Nbd;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Hosts;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace BlockMount.Host.Hosting;

/// <summary>The server as a service: accepts from start to stop, and tells the world where it is.</summary>
internal sealed class NbdHostedService : IHostedService, IAsyncDisposable
{
    private readonly ServedImages _images;
    private readonly Listeners _listeners;
    private readonly ServeRequest _request;
    private readonly IHostApplicationLifetime _lifetime;
    private readonly NbdServer _server;
    private readonly ServeFacts _facts;
    private readonly ServiceNotice _notice;
    private readonly ReloadOnHangup? _reload;
    private ControlSocket? _control;

    public NbdHostedService(ServedImages images, Listeners listeners, ServeRequest request, ILogger<NbdServer> log, IHostApplicationLifetime lifetime)
    {
        (_images, _listeners, _request, _lifetime) = (images, listeners, request, lifetime);
        _server = new NbdServer(images.Exports, OptionsOf(request), log);
        _facts = new ServeFacts(images, listeners, _server);

        // A server whose locks nobody gives back answers neither here nor its clients.
        _notice = new ServiceNotice(Environment.GetEnvironmentVariable, () => _server.OpenConnections >= 0);
        _reload = request.ReadAgain is { } read ? new ReloadOnHangup(images, read, request.Modes, _notice, log) : null;
        images.Serve(_server);
    }

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        foreach (var socket in _listeners.Sockets)
        {
            _server.Listen(socket);
        }

        _control = new ControlSocket(RunDirectory.Ensure(), new HostControl(_facts.Status, StopFromOutsideAsync)
        {
            Exports = new ExportControl(_images, _request.ForAll, _facts.Of),
            Reload = _reload is { } reload ? reload.ReloadAsync : null,
            Drain = DrainAsync,
            TakeClients = () => _server.TakesClients = true,
            Problems = _facts.Problems,
            Metrics = _facts.Metrics,
        });
        if (!_listeners.ArePassedOn)
        {
            Announce();
        }

        if (_request.InBackground)
        {
            BackgroundLauncher.Ready();
        }

        _reload?.Listen();
        _notice.Ready($"serving {_images.All.Length} images");

        // Not before: clients that come and go at once would end a host that is still starting.
        _lifetime.ApplicationStarted.Register(() => _ = ServeConnectedAsync());
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        _notice.Stopping();
        await _images.Devices.EndAsync(cancellationToken);
        using var deadline = new CancellationTokenSource(ServeDefaults.DrainTime);
        await _server.StopAsync(deadline.Token);
    }

    public async ValueTask DisposeAsync()
    {
        _reload?.Dispose();
        _notice.Dispose();
        await _server.DisposeAsync();
        if (_control is not null)
        {
            await _control.DisposeAsync();
        }
    }

    private static NbdServerOptions OptionsOf(ServeRequest request) => new()
    {
        MaxConnections = request.MaxConnections,
        AllowedUsers = request.Access.AllowedUsers,
        Tls = request.Tls,
        IoLoop = request.UseThreads ? null : RingLoop.TryCreate,
    };

    /// <summary>Serves the clients that were there from the start; when nobody else can come, the host ends with the last of them.</summary>
    private async Task ServeConnectedAsync()
    {
        await Task.WhenAll(_listeners.Connections.Select(_server.Serve));
        if (_listeners.Sockets.Count == 0)
        {
            _lifetime.StopApplication();
        }
    }

    private void Announce()
    {
        foreach (var uri in _images.Exports.SelectMany(_facts.UrisOf))
        {
            Console.WriteLine(uri);
        }

        Console.WriteLine("ready");
    }

    private async Task StopFromOutsideAsync()
    {
        // Whoever asks is told of users, and may ask again.
        await _images.Devices.DetachAllAsync(CancellationToken.None);
        _lifetime.StopApplication();
    }

    private async Task<DrainDocument> DrainAsync(TimeSpan time, CancellationToken cancellationToken)
    {
        _server.TakesClients = false;
        var end = Environment.TickCount64 + (long)time.TotalMilliseconds;
        int clients;
        while ((clients = _server.Clients.Count) > 0 && Environment.TickCount64 < end)
        {
            await Task.Delay(50, cancellationToken);
        }

        return new DrainDocument(clients == 0, clients);
    }
}
