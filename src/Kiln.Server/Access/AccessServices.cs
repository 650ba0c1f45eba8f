using Kiln.Server.Access.Connections;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Logins;
using Kiln.Server.Access.Oidc;
using Kiln.Server.Access.Policies;
using Kiln.Server.Access.Tokens;
using Kiln.Server.Audit;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Server.Access;

/// <summary>The parts that decide who may do what.</summary>
internal static class AccessServices
{
    public static IServiceCollection AddAccess(this IServiceCollection services, ServerOptions options, AccessMode mode)
    {
        services.AddSingleton(new AccessSetting(mode)).AddSingleton<AuditLog>();
        services.AddSingleton<PolicyStore>().AddSingleton<Gate>().AddSingleton<RateLimits>();
        services.AddSingleton<Passwords>().AddSingleton<RememberedCredentials>().AddSingleton<Login>();
        services.AddSingleton<Requesters>().AddSingleton<LeaseGate>().AddSingleton<NodeGrants>();
        services.AddSingleton<TokenSigner>().AddSingleton<MachineTokens>().AddSingleton<OidcTokens>();
        if (options.Access.CertificateFile is not null)
        {
            services.AddSingleton<ServerCertificate>();
        }

        return services.AddHostedService<Reloading>();
    }
}

/// <summary>The mode of this server.</summary>
internal sealed record AccessSetting(AccessMode Mode);
