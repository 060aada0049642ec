using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;
using BlockMount.Nbd;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Hosts;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace BlockMount.Host.Hosting;

/// <summary>Runs a server from opened images to the last flush.</summary>
internal static class ServeHost
{
    /// <exception cref="DiskException">An image or socket cannot be opened, or the last flush failed.</exception>
    public static async Task RunAsync(ImageOpener opener, ServeRequest request, CancellationToken cancellationToken)
    {
        // Before anything is opened, and removed after everything is closed.
        using var pidFile = request.PidFile is { } file ? PidFile.Create(file) : null;
        var exports = await ExportPlan.SettleAsync(opener, request.Exports, request.Modes, cancellationToken);
        var images = await ServedImage.OpenAllAsync(opener, exports, cancellationToken);
        try
        {
            using var listeners = Listeners.Open(request, images[0].Exports[0].Export.Name);
            await RunAsync(images, listeners, request, cancellationToken);

            // The socket, and with it the lock on its path, goes only after this: whoever sees it gone may open the images.
            foreach (var image in images)
            {
                await image.FlushAsync();
                await image.DisposeAsync();
            }
        }
        finally
        {
            foreach (var image in images)
            {
                await image.DisposeAsync();
            }
        }
    }

    private static async Task RunAsync(
        IReadOnlyList<ServedImage> images, Listeners listeners, ServeRequest request, CancellationToken cancellationToken)
    {
        var builder = Microsoft.Extensions.Hosting.Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        builder.Logging.SetMinimumLevel(request.Verbose ? LogLevel.Debug : LogLevel.Warning);
        builder.Logging.AddFilter("Microsoft", LogLevel.Warning);

        // What goes wrong in the start is thrown as well, and told once.
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);
        builder.Logging.AddSimpleConsole(static options => options.SingleLine = true);
        builder.Services.Configure<ConsoleLoggerOptions>(static options => options.LogToStandardErrorThreshold = LogLevel.Trace);
        builder.Services.Configure<HostOptions>(static options => options.ShutdownTimeout = TimeSpan.FromMinutes(5));
        builder.Services.AddHostedService(services => new NbdHostedService(
            images, listeners, request, services.GetRequiredService<ILogger<NbdServer>>(), services.GetRequiredService<IHostApplicationLifetime>()));
        using var host = builder.Build();
        await host.StartAsync(CancellationToken.None);
        using var stop = cancellationToken.Register(() => host.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication());
        await host.WaitForShutdownAsync(CancellationToken.None);
    }

    /// <summary>The server as a service: accepts from start to stop, and tells the world where it is.</summary>
    private sealed class NbdHostedService(
        IReadOnlyList<ServedImage> images, Listeners listeners, ServeRequest request, ILogger<NbdServer> log, IHostApplicationLifetime lifetime) : IHostedService, IAsyncDisposable
    {
        private static readonly TimeSpan DrainTime = TimeSpan.FromSeconds(10);
        private readonly DateTimeOffset _since = DateTimeOffset.UtcNow;
        private readonly IReadOnlyList<(ServedImage Image, ServedExport Served)> _exports = [.. images.SelectMany(i => i.Exports.Select(e => (i, e)))];
        private readonly NbdServer _server = new(images.SelectMany(i => i.Exports).Select(e => e.Export), OptionsOf(request), log);
        private ControlSocket? _control;

        public async Task StartAsync(CancellationToken cancellationToken)
        {
            foreach (var socket in listeners.Sockets)
            {
                _server.Listen(socket);
            }

            _control = new ControlSocket(RunDirectory.Ensure(), new HostControl(Status, StopFromOutsideAsync));
            if (!listeners.ArePassedOn)
            {
                Announce();
            }

            if (request.InBackground)
            {
                BackgroundLauncher.Ready();
            }

            // Not before: clients that come and go at once would end a host that is still starting.
            lifetime.ApplicationStarted.Register(() => _ = ServeConnectedAsync());
        }

        public async Task StopAsync(CancellationToken cancellationToken)
        {
            using var deadline = new CancellationTokenSource(DrainTime);
            await _server.StopAsync(deadline.Token);
        }

        public async ValueTask DisposeAsync()
        {
            await _server.DisposeAsync();
            if (_control is not null)
            {
                await _control.DisposeAsync();
            }
        }

        /// <summary>Serves the clients that were there from the start; when nobody else can come, the host ends with the last of them.</summary>
        private async Task ServeConnectedAsync()
        {
            await Task.WhenAll(listeners.Connections.Select(_server.Serve));
            if (listeners.Sockets.Count == 0)
            {
                lifetime.StopApplication();
            }
        }

        private void Announce()
        {
            foreach (var uri in _exports.SelectMany(e => UrisOf(e.Served)))
            {
                Console.WriteLine(uri);
            }

            Console.WriteLine("ready");
        }

        /// <summary>The first export is also the default, which needs no name.</summary>
        private IEnumerable<string> UrisOf(ServedExport export) => listeners.UrisFor(export == _exports[0].Served ? string.Empty : export.Export.Name);

        private static NbdServerOptions OptionsOf(ServeRequest request) => new()
        {
            MaxConnections = request.MaxConnections,
            AllowedUsers = request.Access.AllowedUsers,
            Tls = request.Tls,
            IoLoop = request.UseThreads ? null : RingLoop.TryCreate,
        };

        private Task StopFromOutsideAsync()
        {
            lifetime.StopApplication();
            return Task.CompletedTask;
        }

        private HostStatus Status() => new()
        {
            Name = _exports[0].Served.Export.Name,
            Pid = Environment.ProcessId,
            Command = "serve",
            Since = _since,
            Exports = _exports.Select(e => ExportFactsOf.Device(e.Served.Export.Name, UrisOf(e.Served).First(), e.Image.Opened, e.Served.Meter)).ToList(),
            Clients = _server.Clients.Select(c => new ClientFacts(c.Export, c.Peer, c.Since, c.Requests)).ToList(),
            Sockets = listeners.Names,
        };
    }
}
