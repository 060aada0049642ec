using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>serve</c>: images over NBD until SIGTERM or Ctrl+C, or until the clients that were passed to it are done.</summary>
internal static class ServeCommand
{
    public static Command Create(ImageOpener opener)
    {
        var images = new Argument<string[]>("IMAGE") { Arity = ArgumentArity.ZeroOrMore, Description = "One export each, NAME=IMAGE to name it; the first is also the default export" };
        var socket = new Option<string?>("--socket", "-k") { Description = "Unix socket (mode 0600); default NAME.sock in the run directory", HelpName = "PATH" };
        var tcp = new Option<string?>("--tcp") { Description = "Listen on a TCP port too; NBD has no protection of its own, see --tls-certificates", HelpName = "ADDR:PORT" };
        var stdio = new Option<bool>("--stdio") { Description = "Serve the one client on standard input and output, then end" };
        var connections = new Option<int?>("--max-connections", "-e", "--shared") { Description = $"Clients at a time, default {ServeDefaults.MaxConnections}, 0 for no limit", HelpName = "N" };
        var discard = new Option<string?>("--discard") { Description = "What trims do: unmap (default) gives file space back, ignore refuses them", HelpName = "ignore|unmap" };
        discard.AcceptOnlyFromAmong("ignore", "unmap");
        var depth = new Option<bool>("--allocation-depth", "-A") { Description = "Offer qemu:allocation-depth: which image of the chain holds a block" };
        var name = new Option<string?>("--export-name", "-x") { Description = "Name of the (first) export", HelpName = "NAME" };
        var description = new Option<string?>("--description", "-D") { Description = "Description of the exports", HelpName = "TEXT" };
        var config = new Option<string?>("--config") { Description = "JSON file with exports, socket, tcp, max_connections, discard, allocation_depth", HelpName = "FILE" };
        var fork = new Option<bool>("--fork") { Description = "Return when clients can connect, and go on in the background" };
        var pidFile = new Option<string?>("--pid-file") { Description = "Write the process number here; removed at the end", HelpName = "FILE" };
        var verbose = new Option<bool>("--verbose", "-v") { Description = "Log clients coming and going" };
        var persistent = new Option<bool>("--persistent", "-t") { Description = "Accepted for qemu-nbd's sake: this server always stays" };
        var child = new Option<bool>(BackgroundLauncher.ChildOption) { Hidden = true };
        var tls = new TlsOptions();
        var options = new ImageOptions();
        var command = new Command("serve", "Serve disks over NBD; prints the URI, then \"ready\".")
        {
            images, socket, tcp, stdio, connections, discard, depth, name, description, config, fork, pidFile, verbose, persistent, child,
        };
        tls.AddTo(command);
        options.AddTo(command);
        command.SetExamples(
            "blockmount serve leaf.vdi", "blockmount serve --read-only -k /tmp/disk.sock leaf.vdi", "blockmount serve a=one.vdi b=two.vdi --allocation-depth",
            "blockmount serve --tcp 0.0.0.0:10809 --tls-certificates /etc/pki/blockmount --tls-verify-peer leaf.vdi");
        command.SetWork(async (result, cancellation) =>
        {
            var isStdio = result.GetValue(stdio);
            if (isStdio && result.GetValue(fork))
            {
                throw NotWithStdio("--fork");
            }

            if (result.GetValue(fork) && !result.GetValue(child))
            {
                return await BackgroundLauncher.StartAsync(cancellation);
            }

            var file = result.GetValue(config) is { } path ? await ReadConfigAsync(path, cancellation) : new ConfigFile();
            var limit = isStdio ? 1 : result.GetValue(connections) ?? file.MaxConnections ?? ServeDefaults.MaxConnections;
            var request = new ServeRequest
            {
                Images = ImagesOf(result.GetValue(images) ?? [], result.GetValue(name), file),
                Open = options.Read(result),
                Socket = result.GetValue(socket) ?? file.Socket,
                Tcp = result.GetValue(tcp) ?? file.Tcp,
                Tls = tls.Read(result),
                Stdio = isStdio,
                MaxConnections = limit == 0 ? int.MaxValue : limit,
                Trim = (result.GetValue(discard) ?? file.Discard ?? "unmap") == "unmap",
                AllocationDepth = result.GetValue(depth) || file.AllocationDepth,
                Description = result.GetValue(description) ?? string.Empty,
                PidFile = result.GetValue(pidFile),
                InBackground = result.GetValue(child),
                Verbose = result.GetValue(verbose),
            };
            if (limit < 0)
            {
                throw new DiskException(ErrorKind.InvalidArgument, $"--max-connections {limit}: allowed is 0 (no limit) or more.");
            }

            if (isStdio && (request.Socket ?? request.Tcp) is not null)
            {
                throw NotWithStdio(request.Socket is not null ? "a Unix socket (--socket)" : "a TCP port (--tcp)");
            }

            if (isStdio && !(Console.IsInputRedirected && Console.IsOutputRedirected))
            {
                throw new DiskException(ErrorKind.InvalidArgument, "--stdio speaks NBD on standard input and output, which are no terminals then: run it from the program that is the client.");
            }

            await ServeHost.RunAsync(opener, request, cancellation);
            return ExitCode.Done;
        });
        return command;
    }

    private static DiskException NotWithStdio(string other) =>
        new(ErrorKind.InvalidArgument, $"--stdio serves the one client on standard input and output; it does not go with {other}.");

    private static List<(string? Name, string Image)> ImagesOf(IReadOnlyList<string> arguments, string? firstName, ConfigFile file)
    {
        var images = arguments.Select(Split).Concat(file.Exports.Select(e => (e.Name, e.Image))).ToList();
        if (images.Count == 0)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "Nothing to serve: name an image, or a --config file with exports.");
        }

        if (firstName is not null)
        {
            images[0] = (firstName, images[0].Image);
        }

        return images;
    }

    /// <summary>A path may contain an equals sign, so a file of the whole name wins.</summary>
    private static (string? Name, string Image) Split(string argument)
    {
        var mark = argument.IndexOf('=', StringComparison.Ordinal);
        return mark < 1 || argument[..mark].Contains('/', StringComparison.Ordinal) || File.Exists(argument)
            ? (null, argument)
            : (argument[..mark], argument[(mark + 1)..]);
    }

    private static async Task<ConfigFile> ReadConfigAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            return JsonSerializer.Deserialize(await File.ReadAllBytesAsync(path, cancellationToken), JsonModels.Default.ConfigFile) ?? new ConfigFile();
        }
        catch (JsonException e)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{path}: it is not the JSON that --config reads: {e.Message}", e);
        }
        catch (FileNotFoundException e)
        {
            throw new DiskException(ErrorKind.NotFound, $"{path}: there is no such file.", e);
        }
    }
}
