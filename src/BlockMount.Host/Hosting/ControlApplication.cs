using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace BlockMount.Host.Hosting;

/// <summary>The server's requests, without the layers that a web site needs.</summary>
internal sealed class ControlApplication(ControlRoutes routes) : IHttpApplication<HttpContext>
{
    public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

    public Task ProcessRequestAsync(HttpContext context) => routes.AnswerAsync(context);

    public void DisposeContext(HttpContext context, Exception? exception)
    {
    }
}
