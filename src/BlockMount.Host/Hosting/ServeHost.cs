using System.Globalization;
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
        var images = await ServedImage.OpenAllAsync(opener, request, cancellationToken);
        try
        {
            using var listeners = Listeners.Open(request, images[0].Export.Name);
            await RunAsync(images, listeners, request, cancellationToken);

            // The socket, and with it the lock on its path, goes only after this: whoever sees it gone may open the images.
            foreach (var image in images)
            {
                await image.Meter.FlushAsync(CancellationToken.None);
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
        private readonly NbdServer _server = new(images.Select(i => i.Export), new NbdServerOptions { MaxConnections = request.MaxConnections, Tls = request.Tls, IoLoop = RingLoop.TryCreate }, log);
        private ControlSocket? _control;

        public async Task StartAsync(CancellationToken cancellationToken)
        {
            foreach (var socket in listeners.Sockets)
            {
                _server.Listen(socket);
            }

            _control = new ControlSocket(RunDirectory.Ensure(), Status, StopFromOutsideAsync);
            if (request.PidFile is { } file)
            {
                await File.WriteAllTextAsync(file, Environment.ProcessId.ToString(CultureInfo.InvariantCulture) + "\n", cancellationToken);
            }

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
            if (request.PidFile is { } file)
            {
                File.Delete(file);
            }
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
            for (var i = 0; i < images.Count; i++)
            {
                foreach (var uri in listeners.UrisFor(i == 0 ? string.Empty : images[i].Export.Name))
                {
                    Console.WriteLine(uri);
                }
            }

            Console.WriteLine("ready");
        }

        private Task StopFromOutsideAsync()
        {
            lifetime.StopApplication();
            return Task.CompletedTask;
        }

        private HostStatus Status() => new()
        {
            Name = images[0].Export.Name,
            Pid = Environment.ProcessId,
            Command = "serve",
            Since = _since,
            Exports = images.Select((image, i) => ExportFactsOf.Device(
                image.Export.Name, listeners.UrisFor(i == 0 ? string.Empty : image.Export.Name).First(), image.Opened, image.Meter)).ToList(),
            Clients = _server.Clients.Select(c => new ClientFacts(c.Export, c.Peer, c.Since, c.Requests)).ToList(),
            Sockets = listeners.Names,
        };
    }
}
