//! The words that the demo data is made of.

pub(super) struct Category {
    pub(super) tag: &'static str,
    pub(super) services: [&'static str; 5],
    pub(super) purposes: [&'static str; 5],
}

pub(super) struct Environment {
    pub(super) name: &'static str,
    pub(super) tag: &'static str,
    /// Stands before the service's host name.
    pub(super) subdomain: &'static str,
    pub(super) note: &'static str,
}

/// 13 categories x 5 services x 5 purposes x 4 environments are 1,300 secrets.
pub(super) const ENVIRONMENTS: &[Environment] = &[
    Environment {
        name: "produção",
        tag: "prod",
        subdomain: "",
        note: "Uso em produção: mudanças só com aprovação.",
    },
    Environment {
        name: "homologação",
        tag: "homolog",
        subdomain: "homolog.",
        note: "Ambiente de homologação.",
    },
    Environment { name: "desenvolvimento", tag: "dev", subdomain: "dev.", note: "Livre para testes locais." },
    Environment { name: "sandbox", tag: "sandbox", subdomain: "sandbox.", note: "Sandbox do fornecedor." },
];

pub(super) const CATEGORIES: &[Category] = &[
    Category {
        tag: "financeiro",
        services: ["Stripe", "Adyen", "Cielo", "PagSeguro", "Mercado Pago"],
        purposes: ["pagamentos", "reembolsos", "assinaturas", "conciliação", "antifraude"],
    },
    Category {
        tag: "bancário",
        services: ["Banco Aurora", "Banco Ipê", "Banco Serra Azul", "Caixa Litoral", "Jacarandá Pay"],
        purposes: ["Pix", "cobrança", "extratos", "transferências", "Open Finance"],
    },
    Category {
        tag: "logística",
        services: ["Correios", "Loggi", "Jadlog", "Total Express", "Melhor Envio"],
        purposes: ["cotação de frete", "etiquetas", "rastreamento", "coletas", "devoluções"],
    },
    Category {
        tag: "crm",
        services: ["Salesforce", "HubSpot", "Pipedrive", "RD Station", "Zoho"],
        purposes: ["contatos", "oportunidades", "funil de vendas", "relatórios", "sincronização"],
    },
    Category {
        tag: "comunicação",
        services: ["Twilio", "SendGrid", "Zenvia", "WhatsApp Business", "Mailgun"],
        purposes: ["SMS", "e-mail transacional", "notificações", "modelos", "relatórios de entrega"],
    },
    Category {
        tag: "fiscal",
        services: ["NFe.io", "Focus NFe", "eNotas", "Sefaz SP", "Serpro"],
        purposes: ["NF-e", "NFS-e", "CT-e", "cancelamento de notas", "consulta de CNPJ"],
    },
    Category {
        tag: "rh",
        services: ["Gupy", "Senior", "ADP", "Sólides", "Convenia"],
        purposes: ["folha de pagamento", "ponto eletrônico", "admissões", "benefícios", "férias"],
    },
    Category {
        tag: "nuvem",
        services: ["AWS", "Google Cloud", "Azure", "Oracle Cloud", "DigitalOcean"],
        purposes: ["armazenamento", "filas", "DNS", "faturamento", "backups"],
    },
    Category {
        tag: "observabilidade",
        services: ["Datadog", "New Relic", "Grafana", "Sentry", "PagerDuty"],
        purposes: ["métricas", "alertas", "logs", "rastros", "painéis"],
    },
    Category {
        tag: "marketing",
        services: ["Google Ads", "Meta Ads", "Mailchimp", "TikTok Ads", "LinkedIn Ads"],
        purposes: ["campanhas", "públicos", "conversões", "relatórios", "catálogos"],
    },
    Category {
        tag: "erp",
        services: ["SAP", "TOTVS", "Omie", "Bling", "NetSuite"],
        purposes: ["pedidos", "estoque", "contas a pagar", "contas a receber", "cadastro de produtos"],
    },
    Category {
        tag: "engenharia",
        services: ["GitHub", "GitLab", "Jira", "SonarCloud", "Docker Hub"],
        purposes: ["repositórios", "integração contínua", "chamados", "pacotes", "webhooks"],
    },
    Category {
        tag: "dados",
        services: ["Snowflake", "BigQuery", "Power BI", "Metabase", "Fivetran"],
        purposes: ["consultas", "cargas", "modelos", "painéis", "exportações"],
    },
];

/// Name and whether it is active. The first is the one that is fixed.
pub(super) const USER_GROUPS: &[(&str, bool)] = &[
    ("Pagamentos", true),
    ("Financeiro", true),
    ("Engenharia", true),
    ("Plataforma", true),
    ("Segurança", true),
    ("Atendimento", true),
    ("Logística", true),
    ("Marketing", true),
    ("Vendas", true),
    ("Jurídico", true),
    ("Dados", true),
    ("Projeto Legado", false),
];

/// The first four are the fixed people.
pub(super) const FIRST_NAMES: [&str; 60] = [
    "Ana",
    "Bruno",
    "Carla",
    "Davi",
    "Eduarda",
    "Felipe",
    "Gabriela",
    "Heitor",
    "Isabela",
    "João",
    "Karina",
    "Leonardo",
    "Mariana",
    "Nicolas",
    "Olívia",
    "Paulo",
    "Raquel",
    "Samuel",
    "Tatiana",
    "Ulisses",
    "Vitória",
    "Wagner",
    "Yasmin",
    "Zeca",
    "Alice",
    "Bernardo",
    "Cecília",
    "Diego",
    "Elisa",
    "Fábio",
    "Giovana",
    "Hugo",
    "Inês",
    "Júlio",
    "Lara",
    "Marcelo",
    "Natália",
    "Otávio",
    "Patrícia",
    "Rafael",
    "Sofia",
    "Thiago",
    "Valentina",
    "William",
    "Amanda",
    "Caio",
    "Débora",
    "Emanuel",
    "Fernanda",
    "Gustavo",
    "Helena",
    "Igor",
    "Juliana",
    "Lucas",
    "Manuela",
    "Murilo",
    "Priscila",
    "Rodrigo",
    "Simone",
    "Vinícius",
];

pub(super) const LAST_NAMES: [&str; 24] = [
    "Almeida",
    "Araújo",
    "Barbosa",
    "Cardoso",
    "Carvalho",
    "Castro",
    "Costa",
    "Dias",
    "Fernandes",
    "Ferreira",
    "Gomes",
    "Lima",
    "Martins",
    "Melo",
    "Nascimento",
    "Oliveira",
    "Pereira",
    "Ribeiro",
    "Rocha",
    "Santos",
    "Silva",
    "Souza",
    "Teixeira",
    "Vieira",
];
