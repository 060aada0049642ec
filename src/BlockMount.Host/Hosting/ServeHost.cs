using BlockMount.Core.Errors;
using BlockMount.Host.Images;
using BlockMount.Nbd;
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
        await using var images = await ServedImages.OpenAsync(opener, exports, cancellationToken);
        using var listeners = Listeners.Open(request, images.All[0].Name);
        await RunAsync(images, listeners, request, cancellationToken);

        // The socket, and with it the lock on its path, goes only after this: whoever sees it gone may open the images.
        await images.EndAsync();
    }

    private static async Task RunAsync(ServedImages images, Listeners listeners, ServeRequest request, CancellationToken cancellationToken)
    {
        var builder = Microsoft.Extensions.Hosting.Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        builder.Logging.SetMinimumLevel(request.Verbose ? LogLevel.Debug : LogLevel.Warning);
        builder.Logging.AddFilter("Microsoft", LogLevel.Warning);

        // What goes wrong in the start is thrown as well, and told once.
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);
        _ = request.LogsJson
            ? builder.Logging.AddJsonConsole(static options => (options.TimestampFormat, options.UseUtcTimestamp) = ("O", true))
            : builder.Logging.AddSimpleConsole(static options => options.SingleLine = true);
        builder.Services.Configure<ConsoleLoggerOptions>(static options => options.LogToStandardErrorThreshold = LogLevel.Trace);
        builder.Services.Configure<HostOptions>(static options => options.ShutdownTimeout = TimeSpan.FromMinutes(5));
        builder.Services.AddHostedService(services => new NbdHostedService(
            images, listeners, request, services.GetRequiredService<ILogger<NbdServer>>(), services.GetRequiredService<IHostApplicationLifetime>()));
        using var host = builder.Build();
        await host.StartAsync(CancellationToken.None);
        using var stop = cancellationToken.Register(() => host.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication());
        await host.WaitForShutdownAsync(CancellationToken.None);
    }
}
